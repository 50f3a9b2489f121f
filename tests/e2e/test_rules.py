"""Recording and alerting rules: files, states over a restart, delivery to an Alertmanager and a webhook."""
import http.server
import json
import os
import threading
import time

import pytest

from conftest import need, run, running, wait_for
from test_metrics_store import write as remote_write


class Receiver:
    """Takes what is posted; fails the first `failures` times."""

    def __init__(self, failures=0):
        self.posts = []
        self.failures = failures
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.failures > 0:
                    outer.failures -= 1
                    self.send_response(503)
                else:
                    outer.posts.append((self.path, dict(self.headers), json.loads(body)))
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


CONFIG = """global:
  evaluation_interval: 1s
  external_labels: {dc: eu}
"""

RULES = """groups:
- name: one
  interval: 1s
  rules:
  - record: answer:double
    expr: vector(21) * 2
    labels: {team: infra}
  - alert: Always
    expr: vector(7)
    labels: {severity: page, level: 'x{{ $value }}'}
    annotations: {summary: 'value {{ $value }} of {{ $externalLabels.dc }}, {{ query "answer:double" | first | value }}'}
  - alert: Patient
    expr: vector(1)
    for: 1h
"""


def data(http, path, **params):
    answer = http.request("GET", "/api/v1/" + path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def value(http, query):
    result = data(http, "query", query=query)["result"]
    return result[0]["value"][1] if result else None


def write(daemon, name, text):
    with open(os.path.join(daemon.mount, "metrics", name), "w") as f:
        f.write(text)


@pytest.fixture
def ruled():
    with running() as d:
        write(d, "prometheus.yml", CONFIG)
        write(d, "rules/one.yml", RULES)
        yield d


def test_rules_are_recorded_and_shown(ruled):
    http = ruled.http()
    wait_for(lambda: value(http, "answer:double") == "42", what="the recorded series")
    assert value(http, 'answer:double{team="infra"}') == "42"
    wait_for(lambda: value(http, 'ALERTS{alertname="Always",alertstate="firing"}') == "1",
             what="the alert")
    wait_for(lambda: value(http, 'ALERTS{alertname="Patient",alertstate="pending"}') == "1", what="the one that waits")
    groups = data(http, "rules")["groups"]
    assert [g["name"] for g in groups] == ["one"]
    assert groups[0]["interval"] == 1 and groups[0]["file"].endswith("/rules/one.yml")
    record, always, patient = groups[0]["rules"]
    assert record["query"] == "vector(21) * 2" and record["type"] == "recording"
    assert record["labels"] == {"team": "infra"}
    assert always["state"] == "firing" and always["duration"] == 0
    alert = always["alerts"][0]
    assert alert["labels"] == {"alertname": "Always", "severity": "page", "level": "x7"}
    assert alert["value"] == "7e+00" and alert["state"] == "firing"
    wait_for(lambda: data(http, "rules")["groups"][0]["rules"][1]["alerts"][0]["annotations"]["summary"]
             == "value 7 of eu, 42", what="the annotation")
    assert patient["state"] == "pending" and patient["duration"] == 3600
    assert {r["name"] for r in data(http, "rules", type="alert")["groups"][0]["rules"]} == {"Always", "Patient"}
    only = data(http, "rules", **{"rule_name[]": "Always", "exclude_alerts": "true"})["groups"][0]["rules"]
    assert len(only) == 1 and only[0]["alerts"] is None
    assert data(http, "rules", **{"file[]": "nowhere"})["groups"] == []
    assert len(data(http, "rules", **{"match[]": '{severity="page"}'})["groups"][0]["rules"]) == 1
    assert http.request("GET", "/api/v1/rules", params={"type": "odd"}).status_code == 400
    assert {a["labels"]["alertname"] for a in data(http, "alerts")["alerts"]} == {"Always", "Patient"}


def test_a_file_that_is_wrong_changes_nothing(ruled):
    http = ruled.http()
    wait_for(lambda: value(http, "answer:double") == "42", what="the recorded series")
    path = os.path.join(ruled.mount, "metrics/rules/one.yml")
    with pytest.raises(OSError):
        write(ruled, "rules/one.yml", RULES.replace("vector(21)", "vector(21"))
    assert "vector(21) * 2" in open(path).read()
    errors = open(os.path.join(ruled.mount, ".infra/errors")).read()
    assert "could not parse expression" in errors and "line 6" in errors
    with pytest.raises(OSError):
        write(ruled, "rules/notes.txt", "groups: []\n")
    assert sorted(os.listdir(os.path.dirname(path))) == ["one.yml"]
    # on the host, where nobody hears of a refusal: the groups stay in force
    host = os.path.join(ruled.data, "rules", "two.yml")
    with open(host, "w") as f:
        f.write("groups: [{name: two, rules: [{record: a, expr: 'sum('}]}]\n")
    wait_for(lambda: "two.yml" in ruled.tail(), what="the refusal in the log")
    assert [g["name"] for g in data(http, "rules")["groups"]] == ["one"]
    with open(host, "w") as f:
        f.write("groups: [{name: two, interval: 1s, rules: [{record: two, expr: '2'}]}]\n")
    wait_for(lambda: value(http, "two") == "2", what="the group of the mended file")
    os.unlink(os.path.join(ruled.mount, "metrics/rules/two.yml"))
    wait_for(lambda: value(http, "two") is None, what="the series to end with its rule")
    assert not os.path.exists(host)


def test_pending_goes_on_after_a_kill(ruled):
    http = ruled.http()

    def since():
        alerts = data(http, "alerts")["alerts"]
        return next((a["activeAt"] for a in alerts if a["labels"]["alertname"] == "Patient"), None)

    wait_for(since, what="the alert")
    wait_for(lambda: value(http, 'ALERTS_FOR_STATE{alertname="Patient"}'), what="its series")
    started = float(value(http, 'ALERTS_FOR_STATE{alertname="Patient"}'))
    remote_write(ruled, "later", [(round(time.time() * 1000), 1)])  # what is durable on return makes all before it so
    ruled.kill9()
    time.sleep(1)
    ruled.restart()
    wait_for(lambda: value(http, 'ALERTS_FOR_STATE{alertname="Patient"}'), what="its series again")

    def restored():
        now = float(value(http, 'ALERTS_FOR_STATE{alertname="Patient"}') or 0)
        # the time away does not count; a fresh alert would stand at the time of the start
        return started <= now < time.time() - 1 and now - started < 60

    wait_for(restored, what="the alert to go on")


def test_delivery():
    manager, hook = Receiver(failures=1), Receiver()
    try:
        with running(environment={"INFRAFS_METRICS_ALERT_WEBHOOK": f"http://127.0.0.1:{hook.port}/hook",
                                  "INFRAFS_METRICS_EXTERNAL_URL": "http://prom.example/"}) as d:
            write(d, "prometheus.yml", CONFIG + f"""alerting:
  alert_relabel_configs: [{{regex: level, action: labeldrop}}]
  alertmanagers:
  - path_prefix: /am
    basic_auth: {{username: u, password: p}}
    static_configs: [{{targets: ['127.0.0.1:{manager.port}']}}]
""")
            write(d, "rules/one.yml", RULES)
            wait_for(lambda: manager.posts and hook.posts, what="the alerts")
            path, headers, alerts = manager.posts[0]
            assert path == "/am/api/v2/alerts"
            assert headers["Content-Type"] == "application/json"
            assert headers["Authorization"].startswith("Basic ")
            (alert,) = [a for a in alerts if a["labels"]["alertname"] == "Always"]
            assert alert["labels"] == {"alertname": "Always", "severity": "page", "dc": "eu"}
            assert alert["generatorURL"].startswith("http://prom.example/graph?g0.expr=vector%287%29")
            assert alert["startsAt"] < alert["endsAt"]
            path, _, body = hook.posts[0]
            assert path == "/hook" and body["version"] == "4" and body["status"] == "firing"
            assert body["alerts"][0]["labels"]["alertname"] == "Always"
            answer = data(d.http(), "alertmanagers")["activeAlertmanagers"]
            assert [a["url"] for a in answer] == [f"http://127.0.0.1:{manager.port}/am/api/v2/alerts"]
            # what stops being true is told as resolved
            write(d, "push/t.prom", "trigger 1\n")
            write(d, "rules/two.yml", "groups: [{name: two, interval: 1s, rules: "
                                      "[{alert: Trigger, expr: trigger > 0}]}]\n")

            def told(status):
                return any(a["labels"]["alertname"] == "Trigger" and a["status"] == status
                           for _, _, body in hook.posts for a in body["alerts"])

            wait_for(lambda: told("firing"), what="the alert")
            assert not told("resolved")
            write(d, "push/t.prom", "trigger 0\n")
            wait_for(lambda: told("resolved"), what="the news that it is over")
    finally:
        manager.close()
        hook.close()


def test_alertmanagers_of_a_file(ruled):
    first, second = Receiver(), Receiver()
    listed = ruled.prometheus.parent / "managers.yml"
    try:
        listed.write_text(f"- targets: ['127.0.0.1:{first.port}']\n")
        write(ruled, "rules/one.yml", "groups: []\n")
        write(ruled, "prometheus.yml", CONFIG + "alerting: {alertmanagers: [{file_sd_configs: [{files: [managers.y*ml]}]}]}\n")
        write(ruled, "rules/one.yml", RULES)
        wait_for(lambda: first.posts, what="the alerts")
        listed.write_text(f"- targets: ['127.0.0.1:{second.port}']\n")
        answer = data(ruled.http(), "alertmanagers")["activeAlertmanagers"]
        assert [a["url"] for a in answer] == [f"http://127.0.0.1:{second.port}/api/v2/alerts"]
        listed.write_text("- targetss: []\n")  # takes nobody away
        assert data(ruled.http(), "alertmanagers")["activeAlertmanagers"] == answer
        with pytest.raises(OSError):
            write(ruled, "prometheus.yml", "alerting: {alertmanagers: [{dns_sd_configs: [{names: [a.example]}]}]}\n")
    finally:
        first.close()
        second.close()


def test_promtool_agrees(ruled, tmp_path):
    need("promtool")
    cases = [RULES, RULES.replace("vector(7)", "vector("), RULES.replace("$value", "$valu"),
             RULES.replace("record:", "recrd:"), "groups: []\n",
             RULES.replace("for: 1h", "for: never"), RULES.replace("severity", "__name__"),
             RULES + RULES.split("\n", 1)[1]]
    for i, text in enumerate(cases):
        file = tmp_path / f"r{i}.yml"
        file.write_text(text)
        theirs = run("promtool", "check", "rules", "--lint=none", str(file), ok=False).returncode == 0
        try:
            write(ruled, f"rules/r{i}.yml", text)
            ours = True
        except OSError:
            ours = False
        assert ours == theirs, text
