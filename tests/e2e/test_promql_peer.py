"""The same data and the same queries to infrafs and to a real Prometheus: answers must agree, errors and
annotations included."""
import json
import math
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

import pytest
import requests

import promqltest
from conftest import free_port, running, wait_for

FEATURES = ("promql-experimental-functions,promql-binop-fill-modifiers,promql-unquoted-utf8-names,"
            "promql-delayed-name-removal,st-storage,use-start-timestamps")
STEP_MS, SAMPLES = 15000, 241
QUERIES = 600


def real_prometheus():
    """Version 3, installed by contrib/test; Debian's is older."""
    for place in (pathlib.Path(sys.executable).parent, pathlib.Path.home() / "go/bin", None):
        found = shutil.which("prometheus", path=str(place) if place else None)
        text = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else ""
        if found and not re.search(r"version [12]\.", text):  # one that `go install` made names no version
            return found
    if os.environ.get("INFRAFS_NO_SKIP"):
        pytest.fail("prometheus 3 is not installed")
    pytest.skip("prometheus 3 is not installed")


def rows(rnd):
    """Counters with resets, gauges with gaps, odd values and stale markers, classic histograms."""
    out = []
    for job in "abc":
        for i in range(3):
            labels = f'job="{job}",instance="{i}"' + (f',zone="z{i % 2}"' if job != "c" else "")
            v, counter = 0.0, []
            for _ in range(SAMPLES):
                v = 0.0 if rnd.random() < 0.02 else v + rnd.choice([0, 1, 2.5, 10])
                counter.append("_" if rnd.random() < 0.03 else repr(v))
            out.append(f"hits_total{{{labels}}} " + " ".join(counter))
            gauge = [rnd.choice(["_", "NaN", "Inf", "stale"]) if rnd.random() < 0.04 else repr(round(rnd.gauss(10, 8), 3)) for _ in range(SAMPLES)]
            out.append(f"level{{{labels}}} " + " ".join(gauge))
            if job == "a":
                total = 0
                counts = [0] * 4
                lines = [[] for _ in range(4)]
                for _ in range(SAMPLES):
                    for k in range(4):
                        counts[k] += rnd.randint(0, 3)
                    for k in range(4):
                        lines[k].append(str(sum(counts[:k + 1])))
                for le, line in zip(("0.1", "1", "5", "+Inf"), lines):
                    out.append(f'lat_bucket{{{labels},le="{le}"}} ' + " ".join(line))
                out.append(f"lat_count{{{labels}}} " + " ".join(lines[3]))
    for job, step in (("a", "{{schema:1 sum:2.5 count:3 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 1] offset:-1}}"),
                      ("b", "{{schema:0 sum:-2 count:2 buckets:[1] n_buckets:[1]}}"), ("c", "{{schema:-53 sum:7 count:2 custom_values:[5 10] buckets:[1 1]}}")):
        for i in range(2):
            out.append(f'spread{{job="{job}",instance="{i}"}} {step}+{step}x{SAMPLES - 60 * i - 1}')
    for i in range(150):  # more than one thread reads them
        v, line, level = float(rnd.randint(0, 9)), [], []
        for _ in range(SAMPLES):
            v = 0.0 if rnd.random() < 0.005 else v + rnd.choice([0, 1, 0.25, 1000])
            line.append("_" if rnd.random() < 0.01 else repr(v))
            level.append(rnd.choice(["_", "NaN", "stale", "-Inf"]) if rnd.random() < 0.004 else repr(round(rnd.gauss(0, 1e6), i % 5)))
        out.append(f'many_total{{host="h{i}",kind="k{i % 3}"}} ' + " ".join(line))
        out.append(f'many{{host="h{i}",kind="k{i % 3}"}} ' + " ".join(level[:SAMPLES - i % 7]))
    out.append('info_m{job="a",instance="0",version="1.2"} ' + " ".join(["1"] * SAMPLES))
    out.append('"quoted"'.join(["{", ',job="a"} ']) + " ".join(str(i) for i in range(SAMPLES)))
    return out


def started_rows(rnd):
    """Counters and histograms with start times: right ones, of differences, and whatever comes."""
    out = []
    for kind in ("total", "delta", "any", "late"):
        for i in range(3):
            starts, values, spread = [], [], []
            begun, v = -90000, 0
            for k in range(SAMPLES):
                if rnd.random() < 0.05:
                    starts.append("_")
                    values.append("_")
                    spread.append("_")
                    continue
                if kind != "delta" and rnd.random() < 0.03:
                    begun, v = k * STEP_MS - rnd.choice([1, 5000, 14999, 15000, 20000]), 0
                v = rnd.randint(0, 20) if kind == "delta" else v + rnd.randint(0, 9)
                start = {"total": begun, "delta": (k - 1) * STEP_MS + i, "late": begun if k > 100 else None,
                         "any": rnd.choice([None, begun, k * STEP_MS, (k - 1) * STEP_MS, k * STEP_MS - 40000, k * STEP_MS + 1])}[kind]
                starts.append("_" if start is None else f"{start - k * STEP_MS}ms")
                values.append(str(v))
                spread.append(f"{{{{schema:0 sum:{v} count:{v} buckets:[{v}]}}}}")
            for name, row in (("begun_total", values), ("begun_spread", spread)):
                series = f'{name}{{kind="{kind}",instance="{i}"}}'
                out += [f"{series}@st " + " ".join(starts), f"{series} " + " ".join(row)]
    return out


class Generator:
    """Queries by the grammar: mostly well typed."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def selector(self):
        if self.r.random() < 0.15:
            return self.pick("begun_total", 'begun_total{kind="any"}', "begun_spread", 'begun_spread{kind=~"delta|total"}', 'spread{job=~"a|b"}', 'many{kind="k1",host=~"h1.?"}', 'many_total{host=~"h[0-3]"}', '{__name__=~"spread|level",job="a"}', '{"quoted"}')
        name = self.pick("spread", "spread", "hits_total", "level", "level", "lat_bucket", "lat_count", "nothing")
        matcher = self.pick("", "", '{job="a"}', '{job=~"a|b"}', '{job!="c",instance!~"1.*"}', '{zone=""}', '{zone=~".+"}', '{instance=~"[02]"}')
        return name + matcher

    def span(self):
        return self.pick("1m", "2m", "5m", "90s", "10m", "15s", "1m30s", "2m*2", "max_of(1m,step())")

    def modifier(self):
        return self.pick("", "", "", "", " offset 1m", " offset -1m", " @ end()", " @ start()", " offset (30s*3)")

    def vector(self, depth):
        if depth <= 0:
            return self.selector() + self.modifier()
        return self.pick(self.call, self.call, self.aggregate, self.binary, self.binary, self.over_time, self.over_time, self.odd,
                         lambda d: f"({self.vector(d - 1)})", lambda d: f"-{self.vector(d - 1)}")(depth)

    def scalar(self, depth=0):
        return self.pick("1", "2.5", "-3", "0", "NaN", "Inf", "time()", "pi()", "5m", "0x1f", f"scalar({self.selector()})", "step()", "end()", "1e3", "(2 ^ 3)")

    def over_time(self, depth):
        f = self.pick("rate", "increase", "delta", "irate", "idelta", "resets", "changes", "deriv", "sum_over_time", "avg_over_time",
                      "min_over_time", "max_over_time", "count_over_time", "last_over_time", "first_over_time", "stddev_over_time",
                      "stdvar_over_time", "present_over_time", "absent_over_time", "mad_over_time", "ts_of_max_over_time", "ts_of_last_over_time")
        matrix = f"{self.selector()}[{self.span()}]{self.modifier()}"
        if self.r.random() < 0.2:
            matrix = f"({self.vector(depth - 1)})[{self.pick('1m', '2m', '5m', '90s')}:{self.pick('', '30s', '1m', '7s')}]{self.modifier()}"
        other = self.r.random()
        if other < 0.05:
            return f"quantile_over_time({self.pick('0.5', '0.9', '-1', '2')}, {matrix})"
        if other < 0.1:
            return f"predict_linear({matrix}, 60)"
        if other < 0.13:
            return f"double_exponential_smoothing({matrix}, 0.5, 0.3)"
        if other < 0.18 and "(" not in matrix.split("[")[0]:
            name, rest = matrix.split("]", 1)
            return f"{self.pick('rate', 'increase', 'delta')}({name}] {self.pick('anchored', 'smoothed')}{rest})"
        return f"{f}({matrix})"

    def call(self, depth):
        v = self.vector(depth - 1)
        return self.pick(
            lambda: f"{self.pick('abs', 'ceil', 'floor', 'exp', 'sqrt', 'ln', 'log2', 'log10', 'sgn', 'sin', 'cosh', 'deg', 'sort', 'sort_desc', 'absent', 'timestamp', 'hour', 'day_of_week', 'month')}({v})",
            lambda: f"round({v}{self.pick('', ', 0.5', ', 3')})", lambda: f"clamp({v}, {self.scalar()}, {self.scalar()})",
            lambda: f"clamp_{self.pick('min', 'max')}({v}, {self.scalar()})",
            lambda: f'label_replace({v}, "{self.pick("job", "new")}", "{self.pick("x$1", "", "${1}-$1")}", "instance", "{self.pick("(.*)", "([01])")}")',
            lambda: f'label_join({v}, "joined", "-", "job", "instance")', lambda: f"vector({self.scalar()})",
            lambda: f"histogram_quantile({self.pick('0.5', '0.9', '0.99', '-1')}, {self.pick('lat_bucket', 'sum by (le) (rate(lat_bucket[5m]))', 'sum by (le, job) (lat_bucket)', v)})",
            lambda: f"histogram_{self.pick('avg', 'count', 'sum', 'stddev', 'stdvar')}({self.pick('spread', 'rate(spread[5m])', 'sum by (job) (spread)', v)})",
            lambda: f"histogram_fraction({self.pick('0, 1', '-Inf, 2', '1, 0')}, {self.pick('spread', 'rate(spread[5m])', v)})",
            lambda: f"histogram_quantile({self.pick('0.5', '0.9')}, {self.pick('spread', 'rate(spread[5m])', 'sum by (job) (increase(spread[2m]))')})",
            lambda: f"histogram_{self.pick('avg', 'count', 'sum', 'stddev')}({v})", lambda: f"histogram_fraction({self.pick('0, 1', '-1, 2.5')}, {v})",
            lambda: f"{v} {self.pick('</', '>/', '*', '/')} {self.pick('1', '0.5', '-1', '6')}", lambda: f'histogram_quantiles({v}, "q", 0.1, 0.9)',
            lambda: f"{v} {self.pick('+', '-', '==', '!=', 'and', 'or', 'unless')} {v}",
            lambda: f'sort_by_label({v}, "instance")', lambda: f"scalar({v}) + {v}")()

    def aggregate(self, depth):
        v = self.vector(depth - 1)
        by = self.pick("", "", " by (job)", " by (job, zone)", " without (instance)", " by ()", " without (job, le)", " by (nothing)")
        op = self.pick("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "topk", "bottomk", "quantile", "count_values", "limitk", "SUM")
        if op == "limitk":  # which it takes depends on the order of its input
            return f"limitk{by} (100, {v})"
        if op in ("topk", "bottomk"):  # of values that differ: which of two equal ones is taken is not fixed
            return f"{op}{by} ({self.pick('1', '2', '5', '0', '-1')}, level{self.modifier()})"
        if op == "quantile":
            return f"{op}{by} ({self.pick('0.5', '0.25', '1', '2', 'NaN')}, {v})"
        if op == "count_values":
            return f'{op}{by} ("{self.pick("value", "job")}", {self.selector()})'
        return f"{op}{by} ({v})"

    def binary(self, depth):
        op = self.pick("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool", "and", "or", "unless", "</", ">/")
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        if op not in ("and", "or", "unless") and self.r.random() < 0.4:
            return self.pick(f"{left} {op} {self.scalar()}", f"{self.scalar()} {op} {right}", f"1 {op} {self.scalar()}" if "bool" in op else f"{left} {op} 2")
        match = self.pick("", "", "", " on (job, instance)", " ignoring (zone, le)", " on (instance)", " on ()")
        if op in ("and", "or", "unless"):
            return f"{left} {op}{match} {right}"
        group = self.pick("", "", " group_left ()", " group_left (zone)", " group_right ()") if match else ""
        fill = self.pick("", "", "", "", " fill (0)", " fill_left (1)", " fill_right (-2)")
        return f"{left} {op}{match}{group}{fill} {right}"

    def odd(self, depth):
        """Wrong ones too."""
        return self.pick(f"rate({self.selector()})", f"sum({self.selector()}[5m])", f"{self.selector()}[5m]", f"{self.selector()} + \"x\"",
                         f"nofunc({self.selector()})", f"topk({self.selector()}, 1)", f"{self.selector()} and 1", "{}", f"{self.selector()}[0s]",
                         f"({self.selector()}", f"{self.selector()} offset", f'{{"quoted"}}', f"info({self.selector()})")

    def many(self):
        """Rows that go into their groups as they are read."""
        source = self.pick(f"many{self.modifier()}", f"many_total{self.modifier()}", f"many > {self.pick('0', '1e6', 'time()')}", "-many", "(many * 2)", "100 / many",
                           f"{self.pick('rate', 'increase', 'delta', 'irate', 'changes', 'resets', 'sum_over_time', 'avg_over_time', 'max_over_time', 'count_over_time', 'last_over_time', 'stddev_over_time')}"
                           f"({self.pick('many', 'many_total')}[{self.span()}]{self.modifier()})", "many_total == bool 1", "(many > 0) % 7", "spread", "rate(spread[5m])")
        op = self.pick("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg")
        return f"{op}{self.pick('', ' by (kind)', ' without (host)', ' by (host)', ' by (job)')} ({source})"

    def query(self):
        return self.vector(self.r.randint(0, 3))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    binary = real_prometheus()
    base = tmp_path_factory.mktemp("prometheus")
    (base / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\nstorage: {tsdb: {out_of_order_time_window: 1d}}\n")
    port = free_port()
    log = open(base / "log", "wb")
    peer = subprocess.Popen([binary, f"--config.file={base}/prometheus.yml", f"--storage.tsdb.path={base}/data", "--web.enable-remote-write-receiver",
                             f"--web.listen-address=127.0.0.1:{port}", f"--enable-feature={FEATURES}", "--log.level=error"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: requests.get(url + "/-/ready", timeout=5).status_code == 200, 60, "prometheus")
        with running(mount=False, environment={"INFRAFS_METRICS_OUT_OF_ORDER_WINDOW": "1d"}) as d:
            servers = promqltest.Server(d.url, d.auth), promqltest.Server(url, None)
            end = int(time.time()) // 60 * 60 - 300
            load = promqltest.Load("load 15s")
            load.rows = rows(random.Random(1))
            started = promqltest.Load("load 15s")
            started.rows = started_rows(random.Random(3))
            for s in servers:
                s.shift = end * 1000 - STEP_MS * (SAMPLES - 1)
                s.load(load)
                s.load(started)
                s.end = STEP_MS * (SAMPLES - 1)
            yield servers
    finally:
        peer.terminate()
        peer.wait(60)


def close(a, b):
    if isinstance(a, dict) or isinstance(b, dict):
        return (isinstance(a, dict) and isinstance(b, dict) and close(a["count"], b["count"]) and close(a["sum"], b["sum"]) and
                len(a.get("buckets", [])) == len(b.get("buckets", [])) and
                all(close(v, w) for x, y in zip(a.get("buckets", []), b.get("buckets", [])) for v, w in zip(x, y)))
    x, y = float(a), float(b)
    if a == b or (math.isnan(x) and math.isnan(y)):
        return True
    return not math.isinf(x) and not math.isinf(y) and abs(x - y) <= 1e-11 * max(abs(x), abs(y))


def nameless(answer):
    """A comparison whose left side has lost its name: Prometheus with delayed name removal finds it again; without
    it does not, nor does infrafs."""
    if answer["status"] == "success" and answer["data"]["resultType"] in ("vector", "matrix"):
        for s in answer["data"]["result"]:
            s["metric"].pop("__name__", None)


def normal(answer, ordered):
    """What can be compared; without an order that a query does not fix."""
    out = {k: sorted(answer.get(k, [])) for k in ("warnings", "infos")}
    if answer["status"] != "success":
        return {"error": answer["error"], "errorType": answer["errorType"]}
    data = answer["data"]
    result = data["result"]
    if data["resultType"] in ("vector", "matrix"):
        result = [(json.dumps(s["metric"], sort_keys=True), s.get("values", []) + s.get("histograms", []) +
                   [s[k] for k in ("value", "histogram") if k in s]) for s in result]
        result = result if ordered else sorted(result, key=lambda s: s[0])
    else:
        result = [("", [result])]
    out.update(type=data["resultType"], labels=[s[0] for s in result], times=[[t for t, _ in s[1]] for s in result])
    out["samples"] = [[v for _, v in s[1]] for s in result]
    return out


def same(mine, theirs):
    a, b = mine.get("samples", []), theirs.get("samples", [])
    rest = [{k: v for k, v in x.items() if k != "samples"} for x in (mine, theirs)]
    return rest[0] == rest[1] and all(len(x) == len(y) and all(close(v, w) for v, w in zip(x, y)) for x, y in zip(a, b))


def first_difference(a, b):
    """The members of a that are not those of b, in short."""
    return json.dumps({k: v for k, v in a.items() if b.get(k) != v})[:500]


def difference(pair, query, span):
    mine, theirs = [s.query(query, at=None if span else s.end - 90000, span=(s.end - 1200000, s.end - 30000, 30000) if span else None) for s in pair]
    comparison = re.search("[!=<>]", query)
    if comparison:
        nameless(mine), nameless(theirs)
    ordered = not span and query.startswith(("sort", "topk", "bottomk")) and "sort(" not in query[4:]
    a, b = normal(mine, span and not comparison), normal(theirs, span and not comparison)
    if ordered:
        a, b = normal(mine, False), normal(theirs, False)
    if "error" in a and "error" in b and a["error"].startswith("found duplicate series"):  # which pair is named is not fixed
        a["error"] = b["error"] = a["error"].split("[")[0] if a["error"].split("[")[0] == b["error"].split("[")[0] else a["error"]
    if same(a, b):
        return None
    return f"{'range' if span else 'instant'} {query}\n    infrafs    {first_difference(a, b)}\n    prometheus {first_difference(b, a)}"


@pytest.mark.parametrize("seed", range(4))
def test_generated_queries(pair, seed):
    g = Generator(seed)
    queries = [g.query() for _ in range(QUERIES // 4)] + [g.many() for _ in range(40)]
    wrong = [d for q in queries for span in (False, True) if (d := difference(pair, q, span))]
    assert not wrong, f"{len(wrong)} of {2 * len(queries)} differ:\n" + "\n".join(wrong[:20])


def test_start_times(pair):
    selectors = ("begun_total", "begun_spread", '{__name__=~"begun_.*",kind="any"}')
    queries = [f"{f}({s}[{span}]{modifier})" for f in ("rate", "increase", "irate", "resets", "delta", "changes") for s in selectors
               for span in ("1m", "2m1ms", "5m", "15s") for modifier in ("", " offset 20s", " anchored", " smoothed", " @ end()")
               if f != "irate" or modifier[1:2] not in "as"]
    queries += [f"start_timestamp({s}{m})" for s in selectors for m in ("", " offset 1m", " @ end()", " offset -7s")]
    queries += ["start_timestamp(begun_total * 1)", "start_timestamp((begun_total))", "rate(begun_total[5m:15s])", "sum by (kind) (increase(begun_total[2m]))",
                "max_over_time(rate(begun_total[1m])[5m:30s])", "avg(rate(begun_spread[3m]))", "topk(2, irate(begun_total[1m]))", "begun_total smoothed",
                "start_timestamp(hits_total)", "histogram_count(increase(begun_spread[4m])) - on(kind, instance) increase(begun_total[4m])"]
    wrong = [d for q in queries for span in (False, True) if (d := difference(pair, q, span))]
    assert not wrong, f"{len(wrong)} of {2 * len(queries)} differ:\n" + "\n".join(wrong[:20])


def test_chosen_queries(pair):
    """What a generator seldom finds: a line of the file is a query."""
    queries = (pathlib.Path(__file__).resolve().parents[1] / "data" / "promql-queries.txt").read_text().splitlines()
    wrong = [d for q in queries for span in (False, True) if (d := difference(pair, q, span))]
    assert queries and not wrong, f"{len(wrong)} of {2 * len(queries)} differ:\n" + "\n".join(wrong[:20])


def test_printed_forms(pair):
    g = Generator(99)
    for query in [g.query() for _ in range(150)]:
        for path in ("format_query", "parse_query"):
            mine, theirs = (s.session.post(f"{s.url}/api/v1/{path}", data={"query": query}).json() for s in pair)
            assert mine == theirs, query
