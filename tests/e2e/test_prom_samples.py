"""Every request of tests/data/prom-api-samples, answered by Prometheus 3.16 there, is answered alike here: status,
type, every field with its kind, and the words wherever they do not depend on the moment."""
import json
import pathlib
import re
import shlex

import pytest
import requests

from conftest import running, wait_for
from test_prometheus import Api, Target

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "prom-api-samples"
PORTS = {"127.0.0.1:9120": "SELF", "127.0.0.1:9121": "CAP", "127.0.0.1:9199": "DOWN", "127.0.0.1:9198": "DROPPED"}

BODY = """# HELP a_total x
# TYPE a counter
a_total 1
# TYPE h histogram
h_bucket{le="0.5"} 3 # {trace_id="t1"} 0.3
h_bucket{le="+Inf"} 5
h_count 5
h_sum 2
# EOF
"""

CONFIG = """global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms, external_labels: {{cluster: c1}}}}
scrape_configs:
- job_name: self
  basic_auth: {{username: {user}, password: {password}}}
  static_configs: [{{targets: ['{self}'], labels: {{env: dev}}}}]
- {{job_name: cap, static_configs: [{{targets: ['{cap}']}}]}}
- {{job_name: down, static_configs: [{{targets: ['127.0.0.1:1']}}]}}
- job_name: dropme
  static_configs: [{{targets: ['127.0.0.1:2']}}]
  relabel_configs: [{{action: drop}}]
"""

RULES = """groups:
- name: g1
  rules:
  - {record: 'job:up:sum', expr: sum by (job) (up), labels: {team: infra}}
  - {alert: AlwaysOn, expr: vector(1), for: 1s, labels: {severity: page}, annotations: {summary: 'value {{ $value }}'}}
  - {alert: Pend, expr: up == 0, for: 1h, labels: {severity: warn}, annotations: {summary: '{{ $labels.instance }} down'}}
"""

# What is in them is named by who runs it.
FREE = {"metric", "labels", "discoveredLabels", "annotations", "seriesLabels", "target", "droppedTargetCounts"}
# A flag or a feature that is only Prometheus' own may be missing.
ANY_KEYS = {"status_flags", "features", "metadata"}
# Texts in which the moment or an address stands, or the words are those of each.
OWN_WORDS = {"status_config", "status_flags", "status_buildinfo", "status_runtimeinfo", "features", "query_exec_error",
             "federate", "federate_om", "healthy", "ready"}
# Prometheus was started without --web.enable-lifecycle; here the right to reload is a policy's.
DIFFERENT = {"reload_off": 401}


@pytest.fixture(scope="module")
def answering():
    target = Target()
    target.body, target.type = BODY, "application/openmetrics-text; version=1.0.0"
    with running(mount=False) as d:
        folder = d.data / "rules"
        folder.mkdir(exist_ok=True)
        (folder / "r.yml").write_text(RULES)
        user, password = d.auth
        d.prometheus.write_text(CONFIG.format(self=d.url[7:], cap=target.address, user=user, password=password))
        api = Api(d)
        wait_for(lambda: api.value('up{job="cap"}') == 1 and api.value('up{job="self"}') == 1 and api.value('up{job="down"}') == 0,
                 what="the scrapes")
        wait_for(lambda: [a["state"] for a in api.get("alerts")["data"]["alerts"]].count("firing") == 1, what="the alert")
        wait_for(lambda: len(api.query("up{job='cap'}[20s]")[0]["values"]) >= 6, what="samples for rates")
        yield d
    target.close()


def shape(value, free=False):
    """Keys and kinds. Of a list, what all its elements may have; what is free has kinds alone."""
    if isinstance(value, dict):
        if free:
            return {"*": sorted({json.dumps(shape(v)) for v in value.values()})}
        return {k: shape(v, k in FREE) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def fits(want, got, path=""):
    """Is everything of the sample in the answer, of the same kind?"""
    if isinstance(want, dict):
        assert isinstance(got, dict), path
        if "*" in want:
            return
        for k, v in want.items():
            assert k in got, f"{path}/{k} is missing"
            fits(v, got[k], f"{path}/{k}")
        return
    if isinstance(want, list):
        assert isinstance(got, list), path
        if want and isinstance(want[0], dict) and got:
            keys = {k for w in want for k in w}
            for w in want:  # an element of each kind there is
                alike = [g for g in got if set(g) == set(w)] if "*" not in w else got
                assert alike, f"{path}: none of {len(got)} has the keys {sorted(w)}; {sorted(keys)}"
                fits(w, alike[0], path + "[]")
        elif want and not isinstance(want[0], dict) and got:
            fits(want[0], got[0], path + "[]")
        return
    assert got == want, f"{path}: {got}, not {want}"


def sample(name):
    text = (SAMPLES / f"{name}.txt").read_text()
    command, rest = text.split("\n", 1)
    head, body = re.split(r"\r?\n\r?\n", rest, maxsplit=1)
    lines = head.splitlines()
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return command[len("# curl "):], int(lines[0].split()[1]), headers, body


def request_of(d, command, now):
    """The request of a curl command line, whose quotes did not survive."""
    method = "POST" if "-X POST" in command else "GET"
    path = command[command.rindex(" /") + 1:] if " /" in command else command
    headers, data = {}, None
    for k, v in re.findall(r"-H ([A-Za-z-]+): (\S+)", command):
        headers[k] = v
    if "--data-binary" in command:
        data = b"xyz" if "--data-binary xyz" in command else b""
    path = re.sub(r"(start|end|time)=1795536(\d+)", lambda m: f"{m[1]}={int(now) - 732 + int(m[2])}", path)
    return requests.request(method, d.url + path, headers=headers, data=data, auth=d.auth, timeout=60)


@pytest.mark.parametrize("name", sorted(p.stem for p in SAMPLES.glob("*.txt")))
def test_sample(answering, name):
    now = float(requests.get(answering.url + "/api/v1/query", params={"query": "time()"}).json()["data"]["result"][1])
    command, status, headers, body = sample(name)
    if name in DIFFERENT:
        assert requests.post(answering.url + command[command.index("/"):]).status_code == DIFFERENT[name]
        return
    if name.startswith("query"):  # a busy machine may have been too late with the last scrape
        wait_for(lambda: (check(answering, name, command, status, headers, body, now), True)[1], 5, name)
    else:
        check(answering, name, command, status, headers, body, now)


def check(answering, name, command, status, headers, body, now):
    r = request_of(answering, command, now)
    if name == "write_badtype":
        assert r.status_code in (400, 415)
        return
    assert r.status_code == status, r.text
    assert r.headers.get("Content-Type", "").split(";")[0] == headers.get("content-type", "").split(";")[0]
    if not headers.get("content-type", "").startswith("application/json"):
        if name not in OWN_WORDS:
            assert r.text.strip() == body.strip()
        return
    want, got = json.loads(body), r.json()
    if name not in ANY_KEYS:
        fits(shape(want), shape(got))
    for field in ("status", "errorType", "error", "warnings", "infos"):
        if name not in OWN_WORDS or field == "status":
            assert got.get(field) == want.get(field)
    if name in ("format_query", "parse_query", "query_scalar", "query_string", "query_nan", "alertmanagers", "metadata_metric"):
        scrub = lambda t: re.sub(r"\[\d{10}(\.\d+)?,", "[T,", json.dumps(t))
        assert scrub(got["data"]) == scrub(want["data"])
