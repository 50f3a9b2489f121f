"""PromQL over every door: Prometheus' own cases, the query API, the files, the command line."""
import errno
import os
import pathlib
import random
import socket
import subprocess
import time

import pytest
import requests

import promqltest
from conftest import program, run, running, wait_for

CASES = pathlib.Path(__file__).resolve().parents[1] / "data" / "promqltest"
# Samples of 1970 on, not in order.
OLD = {"INFRAFS_METRICS_RETENTION": "0", "INFRAFS_METRICS_OUT_OF_ORDER_WINDOW": "100y"}
APART_MS = 70 * 86400 * 1000


@pytest.fixture(scope="module")
def shared():
    """One server for all sections that may be moved in time."""
    with running(mount=False, environment=OLD) as d:
        yield promqltest.Server(d.url, d.auth)


def run_section(server, section, failures, count):
    for item in section:
        if isinstance(item, promqltest.Load):
            server.load(item)
            continue
        count[0] += 1
        wrong = promqltest.run_eval(server, item)
        if wrong:
            failures.append(f"{item.where} {item.query}\n    {wrong[:600]}")


@pytest.mark.parametrize("path", sorted(CASES.glob("*.test")), ids=lambda p: p.stem)
def test_cases_of_prometheus(shared, path):
    failures, count = [], [0]
    for section in promqltest.sections(path):
        if promqltest.needs_epoch(section):
            with running(mount=False, environment=OLD) as d:
                run_section(promqltest.Server(d.url, d.auth), section, failures, count)
        else:
            shared.shift += APART_MS
            run_section(shared, section, failures, count)
    assert count[0] > 0
    assert not failures, f"{len(failures)} of {count[0]}:\n" + "\n".join(failures[:40])


class Filled:
    """A daemon with a few series around `now` (seconds, whole minutes)."""

    def __init__(self, daemon):
        self.daemon, self.http = daemon, daemon.http()
        self.now = int(time.time()) // 60 * 60
        server = promqltest.Server(daemon.url, daemon.auth)
        server.shift = (self.now - 3600) * 1000
        load = promqltest.Load("load 1m")
        load.rows = ['requests_total{job="a",instance="1"} 0+60x60', 'requests_total{job="a",instance="2"} 0+120x60',
                     'requests_total{job="b",instance="3"} 0+30x60', 'heat{room="x"} 20+0.5x60', 'heat{room="y"} 10x60']
        server.load(load)

    def get(self, path, status=200, **form):
        r = self.http.post("/api/v1/" + path, data=form)
        assert r.status_code == status, r.text
        return r.json()

    def instant(self, query, status=200, **form):
        return self.get("query", status, query=query, time=form.pop("time", self.now), **form)


@pytest.fixture(scope="module")
def filled(daemon):
    return Filled(daemon)


def test_instant(filled):
    a = filled.instant('sum by (job) (rate(requests_total[5m]))')
    assert a["data"] == {"resultType": "vector", "result": [
        {"metric": {"job": "a"}, "value": [filled.now, "3"]}, {"metric": {"job": "b"}, "value": [filled.now, "0.5"]}]}
    assert "infos" not in a and "warnings" not in a
    assert filled.instant("1 + 2")["data"] == {"resultType": "scalar", "result": [filled.now, "3"]}
    assert filled.instant('"x\\n"')["data"] == {"resultType": "string", "result": [filled.now, "x\n"]}
    a = filled.instant('heat{room="y"}[2m]')["data"]
    assert a == {"resultType": "matrix", "result": [
        {"metric": {"__name__": "heat", "room": "y"}, "values": [[filled.now - 60, "10"], [filled.now, "10"]]}]}


def test_get_and_post_answer_alike(filled):
    form = {"query": "sum(heat)", "time": filled.now}
    assert filled.http.get("/api/v1/query", params=form).json() == filled.instant("sum(heat)")
    span = {"query": "heat", "start": filled.now - 120, "end": filled.now, "step": "1m"}
    got = filled.http.get("/api/v1/query_range", params=span).json()
    assert got == filled.get("query_range", **span)
    assert [len(s["values"]) for s in got["data"]["result"]] == [3, 3]


def test_notes(filled):
    a = filled.instant("rate(heat[5m])")
    assert a["infos"] == ['PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "heat" (1:6)']
    a = filled.instant("quantile(3, heat)")
    assert a["warnings"] == ["PromQL warning: quantile value should be between 0 and 1, got 3 (1:10)"]


def test_limit_and_stats(filled):
    a = filled.instant("requests_total", limit=2)
    assert len(a["data"]["result"]) == 2
    assert a["warnings"] == ["results truncated due to limit"]
    assert "warnings" not in filled.instant("requests_total", limit=3)
    stats = filled.instant("requests_total", stats="all")["data"]["stats"]
    assert set(stats["timings"]) == {"evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime",
                                     "execQueueTime", "execTotalTime"}
    assert stats["samples"]["samplesRead"] >= 3 and stats["samples"]["seriesTouched"] == 3 and stats["samples"]["peakBytes"] > 0
    assert stats["samples"]["totalQueryableSamples"] == 3


def test_lookback(filled):
    later = filled.now + 240
    assert len(filled.instant("heat", time=later)["data"]["result"]) == 2
    assert filled.instant("heat", time=later, lookback_delta="2m")["data"]["result"] == []
    a = filled.instant("heat", status=400, lookback_delta="x")
    assert a["error"] == 'error parsing lookback delta duration: cannot parse "x" to a valid duration'


@pytest.mark.parametrize("form, error", [
    ({"query": "sum("}, 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis'),
    ({"query": ""}, 'invalid parameter "query": unknown position: parse error: no expression found in input'),
    ({"query": "rate(up)"}, 'invalid parameter "query": 1:6: parse error: expected type range vector in call to function '
                            '"rate", got instant vector'),
    ({"query": "up", "time": "x"}, 'invalid parameter "time": invalid time value for \'time\': cannot parse "x" to a valid timestamp'),
    ({"query": "up", "timeout": "x"}, 'invalid parameter "timeout": cannot parse "x" to a valid duration'),
    ({"query": "up", "limit": "-1"}, 'invalid parameter "limit": limit must be non-negative'),
])
def test_bad_requests(filled, form, error):
    a = filled.get("query", 400, **form)
    assert (a["status"], a["errorType"], a["error"]) == ("error", "bad_data", error)


def test_bad_ranges(filled):
    now = filled.now
    for form, error in [
            ({"start": now, "end": now - 1, "step": 1}, 'invalid parameter "end": end timestamp must not be before start time'),
            ({"start": now, "end": now, "step": 0}, 'invalid parameter "step": zero or negative query resolution step widths are '
                                                    'not accepted. Try a positive integer'),
            ({"start": 0, "end": now, "step": 1}, "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
                                                  "query resolution (?step=XX)")]:
        assert filled.get("query_range", 400, query="heat", **form)["error"] == error
    a = filled.get("query_range", 400, query="heat[5m]", start=now, end=now, step=1)
    assert a["error"] == 'invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector'


def test_execution_errors(filled):
    a = filled.instant("heat * on () heat", status=422)
    assert a["errorType"] == "execution"
    assert a["error"].startswith("found duplicate series for the match group {} on the right hand-side of the operation: [{")


def test_format_and_parse(filled):
    assert filled.get("format_query", query="sum(rate(up[5m]))by(job)")["data"] == "sum by (job) (rate(up[5m]))"
    long = "sum(rate(" + "a" * 60 + "[5m])) / sum(rate(" + "b" * 60 + "[5m]))"
    assert filled.get("format_query", query=long)["data"] == f"  sum(rate({'a' * 60}[5m]))\n/\n  sum(rate({'b' * 60}[5m]))"
    a = filled.get("parse_query", query="foo")["data"]
    assert (a["type"], a["name"], a["matchers"]) == ("vectorSelector", "foo", [{"name": "__name__", "type": "=", "value": "foo"}])
    assert filled.get("parse_query", 400, query="foo(")["error"] == 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis'


def test_deep_and_wide_queries_are_refused_clearly(filled):
    a = filled.instant("(" * 50000 + "1" + ")" * 50000, status=400)
    assert "nested too deeply" in a["error"]
    a = filled.get("parse_query", query="-(" * 200 + "heat" + ")" * 200)
    assert a["data"]["type"] == "unaryExpr"


TOO_MANY = "query processing would load too many samples into memory in query execution"


@pytest.mark.parametrize("query, status, error", [
    ("sum_over_time(vector(1)[10y:1ms])", 422, TOO_MANY),  # a huge range with a tiny step
    ("heat[100y:1ms]", 422, TOO_MANY),
    ("max_over_time(rate(heat[1h])[9999h:1ms])", 422, TOO_MANY),
    ('{__name__=~"(x{1,1000}){1,1000}"}', 400, "regexp"),
    ("heat * on () group_left heat", 422, "found duplicate series for the match group {}"),
    ('label_replace(heat, "a", "$1", "room", "(")', 422, "invalid regular expression in label_replace(): ("),
    ("heat offset 1000000y", 400, "duration out of range"),
    ("heat[0s]", 400, "duration must be greater than 0"),
    ("topk(heat, heat)", 400, "expected type scalar in aggregation parameter, got instant vector"),
])
def test_too_much_is_refused_clearly(filled, query, status, error):
    assert error in filled.instant(query, status=status)["error"]


def test_regular_expressions_take_linear_time(filled):
    for regex in ("(a*)*b", "(.*.*.*.*.*.*.*.*)*x", "(a|aa|aaa|aaaa)*$", "(?:(?:x+)+)+y"):
        text = f'label_replace(heat, "long", "{"a" * 5000}", "room", ".*")'
        a = filled.instant(f'label_replace({text}, "found", "yes", "long", "{regex}")')
        assert len(a["data"]["result"]) == 2


def test_eleven_thousand_points(filled):
    a = filled.get("query_range", query="vector(1)", start=0, end=11000, step=1)
    assert len(a["data"]["result"][0]["values"]) == 11001  # the interval counts, as in Prometheus
    assert "11,000 points" in filled.get("query_range", 400, query="vector(1)", start=0, end=11001, step=1)["error"]


def test_cost_is_that_of_the_samples_read(filled):
    """Each sample of the range is read once, however many windows look at it; memory does not grow with the windows."""
    def stats(minutes, window):
        a = filled.get("query_range", query=f"sum(rate(requests_total[{window}]))", start=filled.now - 60 * minutes, end=filled.now, step=60, stats="all")
        return a["data"]["stats"]["samples"]
    assert stats(20, "10m")["samplesRead"] == 3 * (20 + 10) == 3 * 30
    assert stats(40, "10m")["samplesRead"] == 3 * 50
    assert stats(40, "20m")["samplesRead"] == 3 * 60
    assert stats(40, "20m")["peakBytes"] == stats(40, "5m")["peakBytes"] > 0


def test_the_text_of_an_answer_counts_in_its_memory(filled):
    a = filled.http.get("/api/v1/query_range", params={
        "query": "vector(1)", "start": filled.now - 36000, "end": filled.now, "step": 60, "stats": "all"})
    peak = a.json()["data"]["stats"]["samples"]["peakBytes"]
    assert peak > 601 * 8 + 601 * 20  # cells and text; what is evaluated takes the cells alone


def test_broken_queries_leave_the_server_well(filled):
    """A few hundred texts cut, joined and doubled at random: each is answered, as an error or not."""
    rnd = random.Random(5)
    words = ["sum", "(", ")", "{", "}", "[5m]", "[1h:1m]", "heat", "requests_total", "by", "on", "@", "offset", "-", "1e999", "0x", '"', "'", "`", "\\",
             "rate(", "topk(3,", "and", "unless", "group_left", "bool", "==", "=~", '"(((a+)+)+)"', "start()", "NaN", "fill", "anchored", "</", "\u00e9", "\x00", "#", ","]
    for _ in range(400):
        text = " ".join(rnd.choice(words) for _ in range(rnd.randint(1, 14)))
        form = {"query": text, "time": filled.now, "timeout": "10s"}
        r = filled.http.post("/api/v1/query", data=form)
        assert r.status_code in (200, 400, 422), (text, r.text)
        assert (r.json()["status"] == "success") == (r.status_code == 200)
    assert filled.instant("1")["data"]["result"][1] == "1"


SLOW = "quantile_over_time(0.5, heat[1h:10ms])"  # at each step 360,000 samples are put in order: minutes


def test_timeout(filled):
    a = filled.get("query_range", 503, query=SLOW, start=filled.now - 3000, end=filled.now, step="1s", timeout="1ms")
    assert (a["errorType"], a["error"]) == ("timeout", "query timed out in expression evaluation")


def test_a_client_that_goes_ends_its_query(filled):
    body = f"query={requests.utils.quote(SLOW)}&start={filled.now - 3000}&end={filled.now}&step=1s".encode()
    import base64
    token = base64.b64encode(":".join(filled.daemon.auth).encode()).decode()
    with socket.create_connection(("127.0.0.1", filled.daemon.port)) as s:
        s.sendall(b"POST /api/v1/query_range HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + token.encode() +
                  b"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: running_queries(filled) == 1, what="the query to run")
    wait_for(lambda: running_queries(filled) == 0, what="the query to end")


def running_queries(filled):
    text = filled.http.get("/metrics").text
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("infrafs_metrics_queries ")))


def folder(daemon, name):
    return daemon.mount / "metrics" / name


def test_query_as_a_file(filled):
    d = filled.daemon
    text = (folder(d, "query") / f"requests_total @ {filled.now}").read_text()
    assert text == ('requests_total{instance="1", job="a"} 3600\nrequests_total{instance="2", job="a"} 7200\n'
                    'requests_total{instance="3", job="b"} 1800\n')
    assert (folder(d, "query") / "1 %2F 4").read_text() == "0.25\n"
    assert (folder(d, "query") / "17 % 5").read_text() == "2\n"
    assert (folder(d, "query") / f'heat{{room="y"}}[2m] @ {filled.now}').read_text() == (
        f'heat{{room="y"}} 10 {filled.now - 60}\nheat{{room="y"}} 10 {filled.now}\n')
    assert os.listdir(folder(d, "query")) == []
    assert {"query", "range"} <= set(os.listdir(d.mount / "metrics"))


def test_range_as_a_file(filled):
    lines = (folder(filled.daemon, "range") / "10m:5m" / f"heat @ {filled.now}").read_text().splitlines()
    assert lines[0] == 'time,"heat{room=""x""}","heat{room=""y""}"'
    assert len(lines) == 4 and [line.split(",")[1:] for line in lines[1:]] == [["50", "10"]] * 3
    assert float(lines[2].split(",")[0]) - float(lines[1].split(",")[0]) == 300
    assert len((folder(filled.daemon, "range") / "1h" / "vector(1)").read_text().splitlines()) > 200


@pytest.mark.parametrize("path, number, text", [
    ("query/sum(", errno.EINVAL, "1:5: parse error: unclosed left parenthesis"),
    ("query/heat * on () heat", errno.EINVAL, "found duplicate series for the match group {}"),
    ("range/5m/heat[5m]", errno.EINVAL, "must be Scalar or instant Vector"),
    ("range/soon/heat", errno.EINVAL, "'soon' is not a duration"),
    ("range/1y:1s/heat", errno.EINVAL, "more than 11000 steps"),
])
def test_errors_of_files(filled, path, number, text):
    with pytest.raises(OSError) as e:
        (filled.daemon.mount / "metrics" / path).read_text()
    assert e.value.errno == number
    assert text in (filled.daemon.mount / ".infra" / "errors").read_text()


def test_files_are_read_only(filled):
    for path in ("query/up", "range/5m/up"):
        with pytest.raises(OSError) as e:
            (filled.daemon.mount / "metrics" / path).write_text("1")
        assert e.value.errno in (errno.EROFS, errno.EACCES)


def cli(filled, *arguments, ok=True):
    return run(program(), "query", *arguments, "--address", filled.daemon.url, "--data", filled.daemon.data, ok=ok,
               env={**os.environ, "INFRAFS_TOKEN": filled.daemon.root_token}).text


def test_command_line(filled):
    text = cli(filled, "heat", "--time", str(filled.now))
    assert text.splitlines() == ['heat{room="x"}  50', 'heat{room="y"}  10']
    assert cli(filled, "1 / 4") == "0.25\n"
    lines = cli(filled, f"heat @ {filled.now}", "--range", "10m", "--step", "5m").splitlines()
    assert len(lines) == 6 and all("heat{room=" in line for line in lines)
    text = cli(filled, "sum by (job) (rate(requests_total[5m]))", "--explain")
    assert "samples of 3 series" in text
    for node in ("sum by (job)", "rate()", "requests_total[5m]"):
        assert node in text
    assert "1:5: parse error: unclosed left parenthesis" in cli(filled, "sum(", ok=False)


def test_command_line_on_a_terminal(filled):
    shell = " ".join(f"'{a}'" for a in [program(), "query", f"requests_total{{job=\"b\"}}", "--range", "50m", "--address",
                                       filled.daemon.url, "--data", str(filled.daemon.data)])
    text = run("script", "-qec", shell, "/dev/null", env={**os.environ, "INFRAFS_TOKEN": filled.daemon.root_token}).text
    assert "▁" in text and "█" in text and "last 1800" in text
