"""Scraping and the HTTP API, with a target of our own and with Debian's node exporter."""
import gzip
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import free_port, need, run, running, wait_for


class Target:
    """An HTTP target whose answers the test decides."""

    def __init__(self):
        self.body = "a 1\n"
        self.type = "text/plain; version=0.0.4"
        self.status = 200
        self.delay = 0
        self.headers = []
        self.redirect = None
        self.coded = False  # the body is gzip already
        self.scrapes = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.headers.append(dict(self.headers))
                outer.scrapes += 1
                if outer.delay:
                    time.sleep(outer.delay)
                if outer.redirect and self.path == "/metrics":
                    self.send_response(302)
                    self.send_header("Location", outer.redirect)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = outer.body() if callable(outer.body) else outer.body
                body = body if isinstance(body, bytes) else body.encode()
                zip_it = outer.coded or "gzip" in self.headers.get("Accept-Encoding", "")
                if zip_it and not outer.coded:
                    body = gzip.compress(body)
                self.send_response(outer.status)
                if outer.type:
                    self.send_header("Content-Type", outer.type)
                if zip_it:
                    self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def target():
    t = Target()
    yield t
    t.close()


def config(*jobs, interval="1s"):
    """An interval is also the time that a target has to answer: on a busy machine that takes its time."""
    text = f"global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nscrape_configs:\n"
    return text + "".join(jobs)


def job(name, *addresses, more=""):
    return f"- job_name: {name}\n  static_configs:\n  - targets: {json.dumps(list(addresses))}\n{more}"


class Api:
    def __init__(self, daemon):
        self.http = daemon.http(auth=False)  # anybody may read metrics

    def get(self, path, **params):
        r = self.http.get(f"/api/v1/{path}", params=params)
        assert r.headers["Content-Type"] == "application/json", r.text
        return r.json()

    def query(self, q, **params):
        a = self.get("query", query=q, **params)
        assert a["status"] == "success", a
        return a["data"]["result"]

    def value(self, q, **params):
        result = self.query(q, **params)
        return float(result[0]["value"][1]) if result else None

    def soon(self, q, want):
        """What a scrape says: the last one may have come too late, on a busy machine; then it is the next that says so."""
        wait_for(lambda: self.value(q) == want, what=f"{q} to be {want}")


@pytest.fixture
def scraping(daemon, name, target):
    """One job of this test's name for the target; the API."""
    daemon.prometheus.write_text(config(job(name, target.address)))
    api = Api(daemon)
    wait_for(lambda: api.value(f'up{{job="{name}"}}') == 1, what="the first scrape")
    return api


def test_what_is_exposed_can_be_queried(daemon, scraping, name, target):
    target.body = '# HELP b Of b\n# TYPE b counter\nb{x="1"} 2.5\nb{x="2"} NaN\n'
    wait_for(lambda: len(scraping.query(f'b{{job="{name}"}}')) == 2, what="b")
    scraping.soon(f'b{{job="{name}",x="1"}}', 2.5)
    wait_for(lambda: scraping.query(f'b{{job="{name}",x="2"}}')[0]["value"][1] == "NaN", what="NaN")
    labels = {"__name__": "b", "instance": target.address, "job": name, "x": "1"}
    wait_for(lambda: scraping.query(f'b{{job="{name}"}}')[0]["metric"] == labels, what="the labels")
    for report in ("scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added"):
        assert scraping.value(f'{report}{{job="{name}"}}') is not None
    scraping.soon(f'scrape_samples_scraped{{job="{name}"}}', 2)
    assert scraping.get("metadata", metric="b")["data"]["b"] == [{"type": "counter", "unit": "", "help": "Of b"}]


def test_the_request_is_that_of_prometheus(scraping, target):
    h = target.headers[-1]
    assert h["Accept"] == ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,"
                           "application/openmetrics-text;version=0.0.1;q=0.6,"
                           "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3")
    assert h["Accept-Encoding"] == "gzip"
    assert h["X-Prometheus-Scrape-Timeout-Seconds"] == "1"
    assert h["User-Agent"].startswith("Prometheus/")


def test_openmetrics(scraping, name, target):
    target.type, target.body = "application/openmetrics-text; version=1.0.0; charset=utf-8", "# TYPE c counter\nc_total 3\n# EOF\n"
    wait_for(lambda: scraping.value(f'c_total{{job="{name}"}}') == 3, what="OpenMetrics")


def test_a_target_that_dies(scraping, name, target):
    scraping.soon(f'a{{job="{name}"}}', 1)
    target.status = 500
    scraping.soon(f'up{{job="{name}"}}', 0)
    assert scraping.query(f'a{{job="{name}"}}') == []  # stale at once, not after five minutes

    def told():
        (active,) = scraping.get("targets", scrapePool=name)["data"]["activeTargets"]
        return active["health"] == "down" and active["lastError"] == "server returned HTTP status 500 Internal Server Error"

    wait_for(told, what="the reason")
    target.status = 200
    wait_for(lambda: scraping.value(f'a{{job="{name}"}}') == 1, what="up again")


def test_a_series_that_ends(scraping, name, target):
    target.body = "a 1\nb 2\n"
    wait_for(lambda: scraping.value(f'b{{job="{name}"}}') == 2)
    target.body = "a 1\n"
    wait_for(lambda: scraping.query(f'b{{job="{name}"}}') == [], seconds=20, what="staleness")
    scraping.soon(f'a{{job="{name}"}}', 1)


@pytest.mark.parametrize("body, kind, error", [
    ("a 1\nb oops!\n", "text/plain", 'strconv.ParseFloat: parsing "oops!": invalid syntax|unsupported character in float'),
    ("a 1\n", "text/html", "unsupported Content-Type"),
    ("a 1\n", None, "blank Content-Type"),
])
def test_a_body_that_is_not_valid(scraping, name, target, body, kind, error):
    target.body, target.type = body, kind

    def failed():
        t = [t for t in scraping.get("targets")["data"]["activeTargets"] if t["scrapePool"] == name][0]
        return t["health"] == "down" and re.search(error, t["lastError"])

    wait_for(failed, what=error)
    assert scraping.value(f'up{{job="{name}"}}') == 0


def test_a_slow_target_and_its_neighbour(daemon, name, target):
    slow = Target()
    slow.delay = 30
    try:
        daemon.prometheus.write_text(config(job(name, target.address, slow.address)))
        api = Api(daemon)
        wait_for(lambda: api.value(f'up{{instance="{slow.address}"}}') == 0, what="a timeout")
        api.soon(f'up{{instance="{target.address}",job="{name}"}}', 1)
        before = target.scrapes
        wait_for(lambda: target.scrapes >= before + 3, seconds=20, what="the neighbour to go on")
    finally:
        slow.close()


def test_time_that_we_took_is_not_the_targets(target):
    """An answer that came while the daemon could not take it, here because it stood still, is not late."""
    with running(mount=False) as d:
        d.prometheus.write_text(config(job("j", target.address), interval="2s"))
        api = Api(d)
        wait_for(lambda: api.value("up") == 1, what="the first scrape")
        stopped = []

        def body():
            if not stopped:
                stopped.append(time.time())
                os.kill(d.process.pid, signal.SIGSTOP)
                threading.Timer(4, os.kill, (d.process.pid, signal.SIGCONT)).start()
            return "a 1\n"

        target.body = body
        wait_for(lambda: stopped, what="a scrape that is stopped in")
        seen = target.scrapes
        wait_for(lambda: target.scrapes > seen + 1, what="scrapes to go on")
        last = [v for t, v in api.query("up[5m]")[0]["values"] if t <= stopped[0]][-1]
        assert last == "1"  # of the scrape that it stood still in


def test_a_body_over_its_limit(daemon, name, target):
    target.body = "a 1\n" + "# " + "x" * 200000 + "\n"
    daemon.prometheus.write_text(config(job(name, target.address, more="  body_size_limit: 64KiB\n")))
    api = Api(daemon)
    wait_for(lambda: any(t["lastError"] == "body size limit exceeded" for t in api.get("targets", scrapePool=name)["data"]["activeTargets"]))


def test_more_targets_than_the_job_may_have(daemon, name, target):
    daemon.prometheus.write_text(config(job(name, target.address, "127.0.0.1:1", more="  target_limit: 1\n")))
    api = Api(daemon)
    wait_for(lambda: [t["lastError"] for t in api.get("targets", scrapePool=name)["data"]["activeTargets"]] == ["target_limit exceeded"] * 2)
    assert target.scrapes == 0
    daemon.prometheus.write_text(config(job(name, target.address, more="  target_limit: 1\n")))
    wait_for(lambda: api.value(f'up{{job="{name}"}}') == 1)


def test_credentials_stay_with_their_host(daemon, name, target):
    other = Target()
    try:
        target.redirect = f"http://127.0.0.1:{other.port}/elsewhere"
        daemon.prometheus.write_text(config(job(name, target.address, more="  authorization: {credentials: hidden-token}\n")))
        wait_for(lambda: other.headers, what="the redirect to be followed")
        assert target.headers[-1]["Authorization"] == "Bearer hidden-token"
        assert all("Authorization" not in h for h in other.headers)
        shown = Api(daemon).get("status/config")["data"]["yaml"]
        assert "hidden-token" not in shown and "<secret>" in shown
        assert "hidden-token" not in daemon.log.read_text()
    finally:
        other.close()


def test_basic_auth(daemon, name, target):
    daemon.prometheus.write_text(config(job(name, target.address, more="  basic_auth: {username: u, password: p}\n")))
    wait_for(lambda: target.headers and target.headers[-1].get("Authorization") == "Basic dTpw", what="the password")


def test_only_changed_targets_start_anew(daemon, name, target):
    second = Target()
    try:
        target.body = second.body = lambda: f"a 1\n"
        daemon.prometheus.write_text(config(job(name, target.address)))
        api = Api(daemon)
        wait_for(lambda: api.value(f'a{{job="{name}"}}') == 1)
        daemon.prometheus.write_text(config(job(name, target.address, second.address)))
        wait_for(lambda: len(api.query(f'a{{job="{name}"}}')) == 2, what="the second target")
        added = api.query(f'scrape_series_added{{instance="{target.address}",job="{name}"}}[1m]')[0]["values"]
        assert sum(float(v) for _, v in added) == 1  # one time, though the configuration changed
        daemon.prometheus.write_text(config(job(name, second.address)))
        wait_for(lambda: len(api.query(f'a{{job="{name}"}}')) == 1, seconds=20, what="the first to be stale")
    finally:
        second.close()


def test_a_bad_configuration_changes_nothing(daemon, scraping, name, target):
    before = daemon.prometheus.read_text()
    daemon.prometheus.write_text(before + "  scrape_intervall: 1s\n")
    wait_for(lambda: scraping.get("status/runtimeinfo")["data"]["reloadConfigSuccess"] is False, what="the refusal")
    seen = target.scrapes
    wait_for(lambda: target.scrapes > seen + 1, what="scrapes to go on")
    r = daemon.http().post("/-/reload")
    assert r.status_code == 500 and "unknown key 'scrape_intervall'; did you mean 'scrape_interval'?" in r.text
    daemon.prometheus.write_text(before)
    wait_for(lambda: scraping.get("status/runtimeinfo")["data"]["reloadConfigSuccess"] is True, what="the old one again")


def test_reload_by_request_and_by_signal(daemon, name, target):
    api = Api(daemon)
    daemon.prometheus.write_text(config(job(name, target.address)))
    assert daemon.http().post("/-/reload").status_code == 200
    assert name in api.get("scrape_pools")["data"]["scrapePools"]
    assert daemon.http(auth=False).post("/-/reload").status_code == 401
    daemon.prometheus.write_text(config(job(name + "2", target.address)))
    os.kill(daemon.process.pid, 1)
    wait_for(lambda: api.get("scrape_pools")["data"]["scrapePools"] == [name + "2"])


def test_file_sd(daemon, name, target):
    listed = daemon.base / f"{name}.json"
    listed.write_text(json.dumps([{"targets": [target.address], "labels": {"zone": "north"}}]))
    daemon.prometheus.write_text(config(f"- job_name: {name}\n  file_sd_configs:\n  - files: ['{daemon.base}/{name}*.json']\n"))
    api = Api(daemon)
    wait_for(lambda: api.value(f'up{{job="{name}",zone="north"}}') == 1, what="the target of the file")
    for text in ("[{", ""):  # what cannot be read changes nothing; nor what is cut to be written anew
        refused = daemon.log.read_text().count("metrics.targets.refused")
        listed.write_text(text)
        wait_for(lambda: daemon.log.read_text().count("metrics.targets.refused") > refused, what="the refusal")
        assert api.get("targets", scrapePool=name)["data"]["activeTargets"]
    listed.write_text(json.dumps([{"targets": [target.address], "labels": {"zone": "south"}}]))
    wait_for(lambda: api.value(f'up{{job="{name}",zone="south"}}') == 1, what="the new label")


def test_many_targets_keep_their_ticks(daemon, name, target):
    """Each of 300 targets has its own place in the interval, and stays there."""
    target.body = "a 1\n"
    listed = daemon.prometheus.parent / f"{name}.json"
    listed.write_text(json.dumps([{"targets": [target.address], "labels": {"__metrics_path__": f"/m/{i}", "instance": f"n{i}"}}
                                  for i in range(300)]))
    daemon.prometheus.write_text(config(f"- job_name: {name}\n  file_sd_configs: [{{files: ['{name}.json']}}]\n", interval="2s"))
    api = Api(daemon)
    wait_for(lambda: (api.value(f'sum(count_over_time(up{{job="{name}"}}[1m]))') or 0) >= 1500, 60, "five scrapes of each")
    series = [[round(t * 1000) for t, _ in s["values"]] for s in api.query(f'up{{job="{name}"}}[1m]')]
    daemon.prometheus.write_text("")
    assert len(series) == 300
    phases = [max(set(t % 2000 for t in times), key=[t % 2000 for t in times].count) for times in series]
    assert len(set(phases)) > 150  # spread over the interval
    ticks = [[t // 2000 for t in times] for times in series]
    total = sum(map(len, ticks))
    # one scrape in each interval, and none left out, but for a few that a busy machine made late
    assert sum(len(t) - len(set(t)) for t in ticks) <= total / 5, series
    assert sum(t[-1] - t[0] + 1 - len(set(t)) for t in ticks) <= total / 5, series
    assert all(any(t % 2000 == phase for t in times) for times, phase in zip(series, phases))


def test_files_beside_the_configuration(daemon, name, target):
    """Paths are relative to the folder of prometheus.yml; scrape_config_files hold more jobs, in force when edited."""
    folder = daemon.prometheus.parent
    (folder / f"{name}-targets.json").write_text(json.dumps([{"targets": [target.address]}]))
    included = folder / f"{name}-jobs.yml"
    more = "scrape_configs:\n" + f"- job_name: {name}\n  file_sd_configs: [{{files: ['{name}-targets.json']}}]\n"
    included.write_text(more)
    daemon.prometheus.write_text("global: {scrape_interval: 500ms}\n" + f"scrape_config_files: ['{name}-j*.yml']\n")
    api = Api(daemon)
    wait_for(lambda: api.value(f'up{{job="{name}"}}') == 1, what="the job of the other file")
    included.write_text(more + "  scrape_intervall: 1s\n")
    wait_for(lambda: api.get("status/runtimeinfo")["data"]["reloadConfigSuccess"] is False, what="the refusal")
    assert f"{name}-jobs.yml: line 4, column 3: unknown key 'scrape_intervall'" in daemon.http().post("/-/reload").text
    assert api.get("scrape_pools")["data"]["scrapePools"] == [name]
    included.write_text(more.replace(name + "\n", name + "2\n", 1))
    wait_for(lambda: api.get("scrape_pools")["data"]["scrapePools"] == [name + "2"], what="the edit")
    daemon.prometheus.write_text("scrape_config_files: ['a*b/c.yml']\n")
    wait_for(lambda: api.get("status/runtimeinfo")["data"]["reloadConfigSuccess"] is False, what="the refusal")


def test_kill_9_loses_no_more_than_a_second(target):
    count = [0]

    def body():
        count[0] += 1
        return f"a {count[0]}\n"

    target.body = body
    with running(mount=False) as daemon:
        daemon.prometheus.write_text(config(job("j", target.address), interval="200ms"))
        api = Api(daemon)
        wait_for(lambda: (api.value("a") or 0) >= 10, what="samples")
        before = api.query("a[1m]")[0]["values"]
        asked = time.time_ns()
        written = set()  # times at which the log was: of two behind the question the second began behind it

        def written_twice():
            written.update(t for f in (daemon.data / "store/rocksdb").glob("*.log") if (t := f.stat().st_mtime_ns) > asked)
            return len(written) > 1

        wait_for(written_twice, what="two looks of the daemon, each a second after the other")
        daemon.kill9()
        daemon.start()
        api = Api(daemon)
        after = {t: v for t, v in api.query("a[5m]")[0]["values"]}
        for t, v in before:
            assert after.get(t) == v
        wait_for(lambda: (api.value("a") or 0) > float(before[-1][1]), what="scrapes to go on")
        kept = {t: v for t, v in api.query("a[5m]")[0]["values"]}
        daemon.restart()  # a clean stop loses nothing
        api = Api(daemon)
        again = {t: v for t, v in api.query("a[5m]")[0]["values"]}
        for t, v in kept.items():
            assert again.get(t) == v


def test_node_exporter(daemon):
    exporter = need("prometheus-node-exporter")
    port = free_port()
    p = subprocess.Popen([exporter, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        daemon.prometheus.write_text(config(job("node", f"127.0.0.1:{port}"), interval="2s"))
        api = Api(daemon)
        wait_for(lambda: api.value('up{job="node"}') == 1, what="node exporter")
        wait_for(lambda: api.value('node_load1{job="node"}') is not None, what="the load")
        wait_for(lambda: len(api.query('{__name__=~"node_memory_.*",job="node"}')) > 20, what="the memory")
        assert api.get("metadata", metric="node_load1")["data"]["node_load1"][0]["type"] == "gauge"
        wait_for(lambda: api.value('scrape_samples_scraped{job="node"}') > 300, what="all samples")
    finally:
        p.terminate()
        p.wait()


def test_what_grafana_asks(daemon, scraping, name):
    """The requests that Grafana's data source sends: health, metric names, labels, a panel."""
    http = daemon.http(auth=False)
    now = int(time.time())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert http.get("/api/v1/status/buildinfo").json()["data"]["version"].startswith("3.")
    assert http.post("/api/v1/query", data={"query": "1+1", "time": now}, headers=form).json()["data"]["result"][1] == "2"
    assert name in http.get("/api/v1/label/job/values", params={"start": now - 3600, "end": now}).json()["data"]
    assert "up" in http.get("/api/v1/label/__name__/values", params={"match[]": f'{{job="{name}"}}'}).json()["data"]
    assert "job" in http.post("/api/v1/labels", data={"start": now - 3600, "end": now, "match[]": "up"}, headers=form).json()["data"]
    assert http.post("/api/v1/series", data={"match[]": f'up{{job="{name}"}}'}, headers=form).json()["data"]
    r = http.post("/api/v1/query_range", data={"query": f'up{{job="{name}"}}', "start": now - 60, "end": now + 1, "step": 1}, headers=form)
    assert r.json()["data"]["resultType"] == "matrix" and r.json()["data"]["result"][0]["values"]
    assert http.get("/api/v1/metadata", params={"limit": 10}).json()["status"] == "success"
    assert http.get("/api/v1/rules").json()["data"] == {"groups": []}
    r = http.post("/api/v1/query_range", data={"query": f'sum by (job) (rate(scrape_samples_scraped{{job="{name}"}}[5m]))', "start": now - 60, "end": now + 1, "step": 15}, headers=form)
    assert r.status_code == 200 and r.json()["data"]["resultType"] == "matrix"
    assert http.post("/api/v1/query_exemplars", data={"query": "up", "start": now - 60, "end": now}, headers=form).json() == {"status": "success", "data": []}
    assert http.get("/api/v1/status/buildinfo", headers={"Origin": "http://grafana.example"}).status_code == 200


def test_promtool(daemon, scraping, name):
    promtool = need("promtool")
    asked = [promtool, "query", "instant", daemon.url, f'up{{job="{name}"}}']
    wait_for(lambda: f'job="{name}"' in (text := run(*asked).text) and "=> 1" in text, what="up")
    assert name in run(promtool, "query", "labels", daemon.url, "job").text
    run(promtool, "query", "series", daemon.url, "--match=up")
    assert run(promtool, "check", "healthy", f"--url={daemon.url}").returncode == 0
    assert run(promtool, "check", "ready", f"--url={daemon.url}").returncode == 0


def test_status_config_is_a_configuration(daemon, name, target):
    """With the rules' files and the Alertmanagers; the real promtool takes it."""
    promtool = need("promtool")
    daemon.prometheus.write_text(config(job(name, target.address)) + f"""rule_files: ['/r/{name}*.yml', /r/two.yml]
alerting:
  alert_relabel_configs: [{{source_labels: [a], regex: 'x(.*)', action: drop}}]
  alertmanagers:
  - {{path_prefix: /am, timeout: 3s, basic_auth: {{username: u, password: hidden}}, static_configs: [{{targets: ['h:9093']}}]}}
  - {{scheme: https, file_sd_configs: [{{files: [/f/am*.json]}}], relabel_configs: [{{action: labeldrop, regex: zone}}, {{action: keepequal, source_labels: [a], target_label: b}}]}}
""")
    api = Api(daemon)
    wait_for(lambda: name in api.get("status/config")["data"]["yaml"], what="the configuration")
    shown = api.get("status/config")["data"]["yaml"]
    assert f'- "/r/{name}*.yml"\n- /r/two.yml\n' in shown and "    path_prefix: /am\n    timeout: 3s\n" in shown
    assert "    - targets:\n      - \"h:9093\"\n" in shown and "    scheme: https" not in shown and "  - scheme: https\n" in shown
    assert "hidden" not in shown and "      password: <secret>\n" in shown
    checked = daemon.base / f"{name}.shown.yml"
    checked.write_text(shown)
    run(promtool, "check", "config", "--syntax-only", checked)
    daemon.prometheus.write_text(shown.replace("<secret>", "another"))  # we take it too
    assert daemon.http().post("/-/reload").status_code == 200
    assert api.get("status/config")["data"]["yaml"] == shown
    daemon.prometheus.write_text("")


def test_our_own_metrics(daemon, scraping):
    up = r'^infrafs_metrics_targets\{health="up"\} [1-9]'
    text = wait_for(lambda: re.search(up, text := daemon.http(auth=False).get("/metrics").text, re.M) and text, what="up")
    assert re.search(r"^infrafs_metrics_samples_total [1-9]", text, re.M)


def test_https_targets(daemon, name, target):
    """Verified against the job's CA, under another name, or not at all where that is asked for."""
    import ssl

    openssl = need("openssl")
    key, cert = daemon.base / f"{name}.key", daemon.base / f"{name}.crt"
    run(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=scraped.test",
        "-addext", "subjectAltName=DNS:scraped.test", "-keyout", key, "-out", cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    target.server.socket = context.wrap_socket(target.server.socket, server_side=True)
    jobs = {"plain": "", "skip": "  tls_config: {insecure_skip_verify: true}\n", "ca": f"  tls_config: {{ca_file: {cert}}}\n",
            "named": f"  tls_config: {{ca_file: {cert}, server_name: scraped.test}}\n"}
    daemon.prometheus.write_text(config(*(job(name + k, target.address, more="  scheme: https\n" + v) for k, v in jobs.items()), interval="5s"))
    api = Api(daemon)
    for kind, up in (("plain", 0), ("skip", 1), ("ca", 0), ("named", 1)):
        wait_for(lambda: api.value(f'up{{job="{name}{kind}"}}') == up, 60, kind)
    errors = {t["scrapePool"]: t["lastError"] for t in api.get("targets")["data"]["activeTargets"]}
    assert "ertificate" in errors[name + "plain"] and errors[name + "named"] == ""


def test_clock_that_jumps(released, target, tmp_path):
    """Half an hour back, a day ahead, two days back, and to the truth: targets are scraped on, at the time that the
    clock says, and what was scraped is kept and can be asked for."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        assert not os.environ.get("INFRAFS_NO_SKIP"), "libfaketime is not installed"
        pytest.skip("libfaketime is not installed")
    shift = tmp_path / "shift"
    shift.write_text("+0")
    environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(shift), "FAKETIME_NO_CACHE": "1",
                   "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    jumps = (0, -1800, 86400, -86400, 0)
    with running(mount=False, environment=environment) as d:
        d.prometheus.write_text(config(job("self", target.address), interval="1s"))
        api = Api(d)

        def kept(seconds, since):
            """Samples from the time that is so many seconds from the true one, and of no other."""
            at = time.time() + seconds
            return api.value(f"count_over_time(up[{int(time.time() - since) + 3}s])", time=at) or 0

        for seconds in jumps:
            since = time.time()
            shift.write_text(f"{seconds:+d}")
            wait_for(lambda: kept(seconds, since) >= 3, 30, f"scrapes after a jump to {seconds}")
            seen = target.scrapes
            wait_for(lambda: target.scrapes > seen + 1, 30, "scrapes to go on")
        killed = d.process.pid
        d.kill9()
        for left in (f"faketime_shm_{killed}", f"sem.faketime_sem_{killed}"):  # of the library, which had no time to
            pathlib.Path("/dev/shm", left).unlink(missing_ok=True)
        d.start()
        for seconds in jumps:
            assert api.value("count_over_time(up[10m])", time=time.time() + seconds) >= 2, seconds
