"""What the metrics keep: remote writers of both versions, a Prometheus that federates and reads, exemplars,
histograms, deletes, snapshots, pushes, and kill -9 in between."""
import errno
import json
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time
from random import Random

import pytest
import requests

from conftest import free_port, need, running, wait_for
from test_prometheus import Api, Target, config, job


@pytest.fixture
def target():
    t = Target()
    yield t
    t.close()


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def snappy(data):
    """The block format, all literals."""
    out = varint(len(data))
    for at in range(0, len(data), 60):
        piece = data[at:at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def write(daemon, name, samples, **labels):
    """Remote write 1.0 of one series; the status."""
    pairs = sorted({"__name__": name, **labels}.items())
    series = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs)
    series += b"".join(field(2, field(1, float(v)) + field(2, ts)) for ts, v in samples)
    return daemon.http().post("/api/v1/write", data=snappy(field(1, series)),
                              headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}).status_code


class Prometheus:
    """A real one, of version 3, with the configuration that follows."""

    def __init__(self, folder, text, *flags, features="exemplar-storage"):
        beside = [pathlib.Path(p) / "prometheus" for p in (os.path.dirname(sys.executable), os.path.expanduser("~/go/bin"))]
        program = next((str(p) for p in beside if p.exists()), None) or need("prometheus of version 3")
        folder.mkdir()
        (folder / "prometheus.yml").write_text(text)
        self.port = free_port()
        self.log = open(folder / "log", "w")
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                         f"--web.listen-address=127.0.0.1:{self.port}", f"--enable-feature={features}", *flags],
                                        stdout=self.log, stderr=self.log)

    def __enter__(self):
        wait_for(lambda: requests.get(self.url + "/-/ready").status_code == 200, seconds=60, what="Prometheus")
        return self

    def __exit__(self, *a):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def query(self, q, **params):
        return requests.get(self.url + "/api/v1/query", params={"query": q, **params}).json()["data"]["result"]


def sender(daemon, target):
    user, password = daemon.auth
    out = "global: {scrape_interval: 1s}\nscrape_configs:\n"
    out += f"- {{job_name: t, static_configs: [{{targets: ['{target.address}']}}]}}\n"
    out += "- {job_name: self, scrape_native_histograms: true, static_configs: [{targets: ['127.0.0.1:SELF']}]}\n"
    out += f"- {{job_name: fed, metrics_path: /federate, honor_labels: true, params: {{'match[]': ['{{federated=\"yes\"}}']}}, static_configs: [{{targets: ['{daemon.url[7:]}']}}]}}\n"
    out += "remote_write:\n"
    for via, message in (("v1", "prometheus.WriteRequest"), ("v2", "io.prometheus.write.v2.Request")):
        out += f"""- url: {daemon.url}/api/v1/write
  protobuf_message: {message}
  send_exemplars: true
  send_native_histograms: true
  basic_auth: {{username: '{user}', password: '{password}'}}
  metadata_config: {{send_interval: 1s}}
  queue_config: {{batch_send_deadline: 200ms}}
  write_relabel_configs: [{{target_label: via, replacement: {via}}}]
"""
    return out


def tuple_of(point):
    return point[0], json.dumps(point[1])


def test_a_prometheus_writes_federates_and_reads(target, tmp_path):
    target.type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    target.body = '# HELP c Of c\n# TYPE c counter\nc_total 3 # {trace_id="abc"} 0.5\n# EOF\n'
    with running(mount=False) as daemon:
        api = Api(daemon)
        assert write(daemon, "fed", [(int(time.time() * 1000), 42)], federated="yes") == 204
        text = sender(daemon, target)
        with Prometheus(tmp_path / "one", text) as sending:
            # its own target, now that its port is known
            (tmp_path / "one" / "prometheus.yml").write_text(text.replace("SELF", str(sending.port)))
            os.kill(sending.process.pid, 1)
            for via in ("v1", "v2"):
                wait_for(lambda: api.value(f'c_total{{via="{via}"}}') == 3, seconds=60, what=f"samples by {via}")
                wait_for(lambda: api.query(f'prometheus_http_request_duration_seconds{{via="{via}"}}'), seconds=60, what=f"histograms by {via}")
            wait_for(lambda: sending.query('fed{federated="yes"}')[0]["value"][1] == "42", seconds=60, what="federation")
            wait_for(lambda: api.get("metadata", metric="c_total")["data"] or api.get("metadata", metric="c")["data"], what="metadata")
            # what it could not send it would count here
            failed = sending.query("prometheus_remote_storage_samples_failed_total + prometheus_remote_storage_histograms_failed_total")
            assert all(s["value"][1] == "0" for s in failed), failed
            assert wait_for(lambda: sending.query('sum(histogram_count(prometheus_http_request_duration_seconds))'), what="histograms")
            read = f"global: {{scrape_interval: 1m}}\nremote_read: [{{url: '{daemon.url}/api/v1/read', read_recent: true}}]\n"
            with Prometheus(tmp_path / "two", read) as reading:
                for via in ("v1", "v2"):
                    wait_for(lambda: reading.query(f'c_total{{via="{via}"}}')[0]["value"][1] == "3", what="what was written")
                    # bit for bit: each histogram that both have at one time
                    q = 'prometheus_http_request_duration_seconds{handler="/-/ready"%s}[5m]'
                    got = reading.query(q % f',via="{via}"')[0]["histograms"]
                    sent = dict(map(tuple_of, sending.query(q % "")[0]["histograms"]))
                    both = [(t, h) for t, h in map(tuple_of, got) if t in sent]
                    assert both and all(sent[t] == h for t, h in both)


def test_counters_begin_with_a_zero(target, tmp_path):
    """As a real Prometheus with created-timestamp-zero-ingestion, which sees the same target and writes."""
    now = int(time.time() * 1000)
    begun = now - 600_000
    other = Target()
    target.type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    at = f"{begun // 1000}.{begun % 1000:03}"
    target.body = (f'# TYPE c counter\nc_total{{a="1"}} 3\nc_created{{a="1"}} {at}\nc_total{{a="2"}} 4\nc_created{{a="2"}} {at}\n'
                   f'# TYPE h histogram\nh_bucket{{le="0.5"}} 1\nh_bucket{{le="+Inf"}} 2\nh_count 2\nh_sum 1\nh_created {at}\n'
                   f'# TYPE s summary\ns{{quantile="0.5"}} 1\ns_count 2\ns_sum 1\ns_created {at}\n'
                   f'# TYPE g gauge\ng 1\ng_created {at}\n# EOF\n')
    start = field(1, begun // 1000) + field(2, begun % 1000 * 1000000)
    families = [field(1, b"pc_total") + field(3, 0) + field(4, field(3, field(1, 5.0) + field(3, start))),
                field(1, b"ps") + field(3, 2) + field(4, field(4, field(1, 2) + field(2, 3.0) + field(4, start))),
                field(1, b"ph") + field(3, 4) + field(4, field(7, field(1, 2) + field(2, 3.0) + field(3, field(1, 2) + field(2, 1.5)) + field(15, start)))]
    other.type = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    other.body = b"".join(varint(len(f)) + f for f in families)
    symbols = b"".join(field(4, s) for s in (b"", b"__name__", b"w_total"))
    points = ((now - 500_000, 7.0, begun), (now - 400_000, 8.0, begun), (now - 300_000, 1.0, now - 350_000))
    series = field(1, b"\x01\x02") + b"".join(field(2, field(1, v) + field(2, t) + field(3, s)) for t, v, s in points)
    message = snappy(symbols + field(5, series))
    headers = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy",
               "X-Prometheus-Remote-Write-Version": "2.0.0"}
    jobs = config(job("t", target.address), job("p", other.address), interval="1s")
    q = '{__name__=~"c_.+|h_.+|s.*|g.*|p[chs].*|w_total",job!="infrafs"}[1h]'

    def first(found):
        return {json.dumps(s["metric"], sort_keys=True): [v for v in s["values"] if v[1] == "0" or s["metric"]["__name__"] == "w_total"]
                for s in found if not s["metric"]["__name__"].startswith("scrape_")}

    with running(mount=False, config="metrics: {created_timestamps: 1}\n") as d:
        with Prometheus(tmp_path / "p", jobs, "--web.enable-remote-write-receiver",
                        features="created-timestamp-zero-ingestion,st-storage,use-start-timestamps,promql-experimental-functions") as real:
            d.prometheus.write_text(jobs)
            api = Api(d)
            wait_for(lambda: len(real.query("up == 1")) == 2, what="Prometheus to scrape")
            wait_for(lambda: len(api.query('up{job=~"t|p"} == 1')) == 2, what="the scrapes")
            for write_to in (lambda **k: requests.post(real.url + "/api/v1/write", **k), lambda **k: d.http().post("/api/v1/write", **k)):
                r = write_to(data=message, headers=headers)
                assert r.status_code == 204 and r.headers["X-Prometheus-Remote-Write-Samples-Written"] == "3", r.text
            mine = wait_for(lambda: (found := first(api.query(q))) == first(real.query(q)) and found, what="the same zeros")
            assert [v for _, v in next(v for k, v in mine.items() if "w_total" in k)] == ["0", "7", "8", "0", "1"]
            assert sum([[begun / 1000, "0"] in v for v in mine.values()]) == 17
            names = ("c_total", "h_bucket", "h_count", "h_sum", "s", "s_sum", "g", "g_created", "pc_total", "ps_count", "ph_count", "ph_bucket")

            def starts(of):
                return {(n, json.dumps(s["metric"], sort_keys=True)): s["value"][1] for n in names for s in of.query(f"start_timestamp({n})")}
            want = wait_for(lambda: (found := starts(api)) == starts(real) and found, what="the same starts")
            assert set(want.values()) == {str(begun / 1000), "0"}
            assert api.query("start_timestamp(w_total)", time=now / 1000 - 299)[0]["value"][1] == str((now - 350_000) / 1000)
            d.kill9()
            d.start()
            api = Api(d)
            wait_for(lambda: starts(api) == want, what="the starts after a crash")
            assert api.query("start_timestamp(w_total)", time=now / 1000 - 399)[0]["value"][1] == str(begun / 1000)
            off = d.http().get("/api/v1/query", params={"query": "start_timestamp(w_total)"}, headers={"X-Prometheus-Use-Start-Timestamps": "f"})
            assert off.json()["data"]["result"] == []
            bad = d.http().get("/api/v1/query", params={"query": "1"}, headers={"X-Prometheus-Use-Start-Timestamps": "no"})
            assert bad.status_code == 400 and bad.json()["error"].endswith('header: strconv.ParseBool: parsing "no": invalid syntax')
    other.close()


def test_exemplars_features_and_metadata_of_targets(target):
    target.type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    target.body = ('# HELP h of h\n# TYPE h histogram\nh_bucket{le="0.5"} 1 # {trace_id="t1",span="é"} 0.3 1700000000.5\n'
                   'h_bucket{le="+Inf"} 2\nh_count 2\nh_sum 1\n# TYPE x gauge\nx 1\n# EOF\n')
    with running(mount=False) as daemon:
        daemon.prometheus.write_text(config(job("j", target.address)))
        api = Api(daemon)
        want = [{"seriesLabels": {"__name__": "h_bucket", "instance": target.address, "job": "j", "le": "0.5"},
                 "exemplars": [{"labels": {"span": "é", "trace_id": "t1"}, "value": "0.3", "timestamp": 1700000000.5}]}]
        for _ in range(2):
            ask = dict(query="histogram_quantile(0.9, rate(h_bucket[5m])) + on() x", start=1, end=2000000000)
            wait_for(lambda: api.get("query_exemplars", **ask)["data"] == want, what="the exemplar")
            daemon.restart()
            api = Api(daemon)
        assert api.get("query_exemplars", query="x", start=1, end=2)["data"] == []
        assert api.get("query_exemplars", query="x", start=2, end=1)["error"] == "end timestamp must not be before start timestamp"
        assert api.get("query_exemplars", query="x{")["errorType"] == "bad_data"
        wait_for(lambda: api.get("targets/metadata")["status"] == "success", what="a scrape after the restart")
        of = {"instance": target.address, "job": "j"}
        got = api.get("targets/metadata")["data"]
        assert {"target": of, "metric": "h", "type": "histogram", "help": "of h", "unit": ""} in got
        assert api.get("targets/metadata", metric="x", match_target='{job="j"}')["data"] == [{"target": of, "type": "gauge", "help": "", "unit": ""}]
        assert api.get("targets/metadata", match_target='{job="k"}')["error"] == "specified metadata not found"
        features = api.get("features")["data"]
        assert features["api"]["remote_write_receiver"] and features["promql_functions"]["rate"] and features["promql_operators"]["sum"]


def test_native_histograms_are_scraped(tmp_path):
    """Of a Prometheus, by protobuf; what is read back is what its own scrape of itself keeps."""
    with running(mount=False) as daemon, Prometheus(tmp_path / "p", "global: {}\n") as exposing:
        daemon.prometheus.write_text(config(f"- {{job_name: p, scrape_native_histograms: true, static_configs: [{{targets: ['127.0.0.1:{exposing.port}']}}]}}\n"))
        api = Api(daemon)
        wait_for(lambda: api.value('up{job="p"}') == 1, what="a scrape")
        wait_for(lambda: api.query('prometheus_http_request_duration_seconds{handler="/metrics"}'), what="a native histogram")
        assert api.query('prometheus_http_request_duration_seconds_bucket{handler="/metrics"}') == []
        assert api.get("metadata", metric="prometheus_http_request_duration_seconds")["data"]["prometheus_http_request_duration_seconds"][0]["type"] == "histogram"
        wait_for(lambda: api.value("go_goroutines") > 1 and api.query('go_gc_duration_seconds{quantile="0.5"}'), what="the others")
        daemon.prometheus.write_text(config(f"- {{job_name: q, scrape_protocols: [PrometheusProto], static_configs: [{{targets: ['127.0.0.1:{exposing.port}']}}]}}\n"))
        wait_for(lambda: api.query('prometheus_http_request_duration_seconds_bucket{job="q",handler="/metrics",le="+Inf"}'), what="classic buckets")


def test_chunks_are_read(tmp_path):
    """A real Prometheus reads samples as XOR chunks."""
    now = int(time.time() * 1000) // 1000 * 1000
    values = [(now - 600000 + i * 1000 + (i % 7 == 3), i * 0.1 if i % 5 else i) for i in range(600)]
    with running(mount=False) as daemon:
        assert write(daemon, "x", values, a="1") == 204
        read = f"global: {{scrape_interval: 1m}}\nremote_read: [{{url: '{daemon.url}/api/v1/read', read_recent: true}}]\n"
        with Prometheus(tmp_path / "p", read) as reading:
            got = reading.query('x{a="1"}[20m]')[0]["values"]
            assert [(round(t * 1000), float(v)) for t, v in got] == [(t, float(v)) for t, v in values]


def zigzag(n):
    return n << 1 if n >= 0 else (-n << 1) - 1


def histogram(ts, counts, negative, floats=False, schema=3, zero=2, threshold=2.0 ** -128, total=1.5, offset=0, hint=0, custom=()):
    """prometheus.Histogram with a span of these counts on each side, and a second one of the last positive count."""
    def deltas(values):
        return b"".join(varint(zigzag(b - a)) for a, b in zip([0] + values, values))

    def spans(values, two):
        pairs = [(offset, len(values) - 1), (2, 1)] if two else [(offset, len(values))]
        return [field(1, zigzag(o)) + field(2, n) for o, n in pairs] if values else []

    count = sum(counts) + sum(negative) + zero
    out = field(2, float(count)) + field(7, float(zero)) if floats else field(1, count) + field(6, zero)
    out += field(3, total) + field(4, zigzag(schema)) + field(5, threshold) + field(14, hint) + field(15, ts)
    out += b"".join(field(8, s) for s in spans(negative, False)) + b"".join(field(11, s) for s in spans(counts, not custom))
    for number, values in ((10, negative), (13, counts)):
        packed = b"".join(struct.pack("<d", v) for v in values) if floats else deltas(values)
        out += field(number if floats else number - 1, packed)
    return out + (field(16, b"".join(struct.pack("<d", v) for v in custom)) if custom else b"")


def test_histograms_are_read_as_chunks(tmp_path):
    """A real Prometheus reads what was written: of integers and floats, with resets, gauges, other buckets in between,
    custom ones, stale markers and plain floats among them."""
    now = int(time.time() * 1000)
    random = Random(7)
    stale = struct.unpack("<d", struct.pack("<Q", 0x7ff0000000000002))[0]
    series = {k: b"" for k in ("ints", "floats", "gauge", "custom", "mixed")}
    counts, level = [0] * 5, [0.0] * 3
    for i in range(300):
        ts = now - 700_000 + 2000 * i + (i % 11 == 3)
        counts = [0] * 5 if i % 90 == 50 else [c + random.choice((0, 0, 1, 3, 70, 10 ** 9)) for c in counts]
        level = [max(0.0, v + random.choice((-0.25, 0.0, 1 / 3, 17.0))) for v in level]
        wide = 5 if i < 200 else 4
        series["ints"] += field(4, histogram(ts, counts[:wide], counts[:i % 2 * 2], zero=i // 7, total=random.random() * 1e6, offset=-3 + i // 250))
        series["floats"] += field(4, histogram(ts, [v + i for v in level], [float(i)], True, zero=i / 3, threshold=0.001, schema=-2))
        series["gauge"] += field(4, histogram(ts, [v + 1 for v in level], [], True, hint=3))
        series["custom"] += field(4, histogram(ts, counts[:4], [], zero=0, threshold=0.0, schema=-53, custom=(-1.5, 0.1, 1 / 3, 2.0, 40000.0)))
        if i % 10 < 3:
            series["mixed"] += field(2, field(1, stale if i % 20 == 1 else float(i)) + field(2, ts))
        else:
            series["mixed"] += field(4, histogram(ts, counts, counts, total=stale if i % 30 == 5 else 2.0))
    body = b"".join(field(1, field(1, field(1, b"__name__") + field(2, k.encode())) + v) for k, v in series.items())
    with running(mount=False) as daemon:
        r = daemon.http().post("/api/v1/write", data=snappy(body), headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
        assert r.status_code == 204, r.text
        # a query for both kinds of answer: chunks in front, and samples only
        matcher = field(1, 0) + field(2, b"__name__") + field(3, b"ints")
        ask = field(1, field(1, now - 3_600_000) + field(2, now) + field(3, matcher))
        for types, kind in ((b"\x01\x00", "application/x-streamed-protobuf"), (b"\x01", "application/x-streamed-protobuf"),
                            (b"\x00\x01", "application/x-protobuf"), (b"", "application/x-protobuf")):
            r = daemon.http().post("/api/v1/read", data=snappy(ask + field(2, types)))
            assert r.status_code == 200 and r.headers["Content-Type"].startswith(kind), (types, r.headers)
        api = Api(daemon)
        read = f"global: {{scrape_interval: 1m}}\nremote_read: [{{url: '{daemon.url}/api/v1/read', read_recent: true}}]\n"
        with Prometheus(tmp_path / "p", read) as reading:
            for name in series:
                mine, theirs = api.query(f"{name}[20m]"), reading.query(f"{name}[20m]")
                assert mine == theirs and len(mine[0].get("histograms", [])) >= 180, name
                if name != "mixed":
                    asked = f"increase({name}[20m])" if name != "gauge" else f"delta({name}[20m])"
                    at = now / 1000
                    assert close(api.query(asked, time=at), reading.query(asked, time=at)), name


def close(a, b):
    """Are the histograms the same but for the last digits?"""
    (a,), (b,) = a, b
    a, b = a["histogram"][1], b["histogram"][1]
    numbers = [[float(h["count"]), float(h["sum"])] + [float(x) for bucket in h["buckets"] for x in bucket] for h in (a, b)]
    return len(numbers[0]) == len(numbers[1]) and all(x == pytest.approx(y, rel=1e-9) for x, y in zip(*numbers))


def test_what_was_acknowledged_is_there_after_kill_9():
    """Writers at once go on while the daemon is killed, and share the syncs of its log; each answer of
    204 must be in the next one's data."""
    now = int(time.time() * 1000) - 3000000
    with running(mount=False) as daemon:
        kept = []
        for round in range(4):
            stop = threading.Event()

            def send(writer):
                at = round * 100
                while not stop.is_set():
                    ts = now + at * 1000
                    try:
                        if write(daemon, "k", [(ts, at)], writer=writer) == 204:
                            kept.append((writer, ts, at))
                    except requests.RequestException:
                        return
                    at += 1

            before = len(kept)
            writers = [threading.Thread(target=send, args=(str(i),)) for i in range(6)]
            for t in writers:
                t.start()
            wait_for(lambda: len(kept) >= before + 60, what="writes")
            daemon.kill9()
            stop.set()
            for t in writers:
                t.join()
            daemon.start()
            stored = {(s["metric"]["writer"], int(ts * 1000)): float(v)
                      for s in Api(daemon).query("k[1h]") for ts, v in s["values"]}
            assert all(stored.get((writer, ts)) == v for writer, ts, v in kept)


def test_a_load_takes_little_room():
    """Two hours of samples at once stand on the disk as a run soon, and not in a log beside it."""
    end = int(time.time() * 1000) // 1000 * 1000 - 60_000
    times = range(end - 7_140_000, end, 3_000)
    with running(mount=False) as d:
        for i in range(100):
            assert write(d, "loaded", [(t, (t // 3000 * 7919 + i) % 9973 / 100) for t in times], n=str(i)) == 204
        files = pathlib.Path(d.data) / "store/rocksdb"

        def bytes_on_disk():
            return sum(f.stat().st_size for f in list(files.glob("*.sst")) + list(files.glob("*.log")))

        wait_for(lambda: bytes_on_disk() < 1_200_000, 30, "the log to go")
        assert Api(d).get("status/tsdb/blocks")["data"]["blocks"]
        assert write(d, "loaded", [(end, 1)], n="0") == 204
        d.kill9()
        d.start()
        found = Api(d).query("sum(count_over_time(loaded[3h]))", time=end / 1000 + 1)
        assert found[0]["value"][1] == str(100 * len(times) + 1)


def test_deletes_and_snapshots():
    now = int(time.time() * 1000)
    with running(mount=False) as daemon:
        api = Api(daemon)
        for i in (1, 2):
            assert write(daemon, "d", [(now - 7200000 + k * 60000, k) for k in range(120)], i=str(i)) == 204
        anyone = daemon.http(auth=False)
        assert anyone.post("/api/v1/admin/tsdb/delete_series", params={"match[]": "d"}).status_code == 401
        http = daemon.http()
        r = http.post("/api/v1/admin/tsdb/snapshot")
        assert r.status_code == 200 and (daemon.data / "snapshots" / r.json()["data"]["name"]).is_dir()
        assert http.post("/api/v1/admin/tsdb/delete_series").status_code == 400
        assert http.post("/api/v1/admin/tsdb/delete_series", params={"match[]": 'd{i="1"}'}).status_code == 204
        assert http.put("/api/v1/admin/tsdb/clean_tombstones").status_code == 204
        for _ in range(2):
            assert api.get("series", **{"match[]": "d"})["data"] == [{"__name__": "d", "i": "2"}]
            assert len(api.query("d[3h]")[0]["values"]) == 120
            blocks = api.get("status/tsdb/blocks")["data"]["blocks"]
            assert blocks and all(len(b["ulid"]) == 26 and b["maxTime"] - b["minTime"] == 7200000 for b in blocks)
            daemon.kill9()
            daemon.start()
            api = Api(daemon)


def test_http_sd(daemon, name, target):
    source = Target()
    try:
        source.type = "application/json; charset=utf-8"
        source.body = json.dumps([{"targets": [target.address], "labels": {"zone": "north", "__meta_x": "y"}}])
        daemon.prometheus.write_text(config(f"- job_name: {name}\n  http_sd_configs: [{{url: 'http://{source.address}/sd', refresh_interval: 300ms}}]\n"))
        api = Api(daemon)
        wait_for(lambda: api.value(f'up{{job="{name}",zone="north"}}') == 1, what="the target of the source")
        assert source.headers[-1]["X-Prometheus-Refresh-Interval-Seconds"] == "0.3"
        assert source.headers[-1]["Accept"] == "application/json"
        found = api.get("targets", scrapePool=name)["data"]["activeTargets"][0]["discoveredLabels"]
        assert found["__meta_url"] == f"http://{source.address}/sd" and found["__meta_x"] == "y"
        asked = source.scrapes
        source.type = "text/plain"  # what is not JSON changes nothing
        wait_for(lambda: source.scrapes >= asked + 3, what="another look")
        assert api.get("targets", scrapePool=name)["data"]["activeTargets"]
        source.type, source.body = "application/json", json.dumps([{"targets": [target.address], "labels": {"zone": "south"}}])
        wait_for(lambda: api.value(f'up{{job="{name}",zone="south"}}') == 1, what="the new label")
        source.body = "[]"
        wait_for(lambda: api.get("targets", scrapePool=name)["data"]["activeTargets"] == [], what="no target")
    finally:
        source.close()


def test_push_by_file():
    with running(config="metrics: {push_age: 12s}\n") as daemon:
        api, folder = Api(daemon), daemon.mount / "metrics" / "push"
        (folder / "backup.prom").write_text('# TYPE backup_bytes gauge\nbackup_bytes{db="a"} 5\nbackup_bytes{db="b",job="mine"} 6\n')
        assert api.value('backup_bytes{job="push",instance="backup",db="a"}') == 5  # when close returns
        assert api.value('backup_bytes{job="mine",db="b"}') == 6
        assert os.listdir(folder) == ["backup.prom"] and "backup_bytes" in (folder / "backup.prom").read_text()
        with pytest.raises(OSError) as e:
            (folder / "backup.prom").write_text("backup_bytes five\n")
        assert e.value.errno == errno.EINVAL
        assert "line 1" in (daemon.mount / ".infra" / "errors").read_text()
        assert api.value('backup_bytes{db="a"}') == 5  # a refused push changes nothing
        (folder / "backup.prom").write_text('backup_bytes{db="a"} 7\n')
        assert api.value('backup_bytes{db="a"}') == 7
        assert api.query('backup_bytes{db="b"}') == []  # it is not in the new one: stale at once
        daemon.kill9()
        daemon.start()
        api = Api(daemon)
        assert (folder / "backup.prom").read_text() == 'backup_bytes{db="a"} 7\n'
        (folder / "other.prom").write_text("other 1\n# EOF\n")
        assert api.value("other") == 1
        (folder / "other.prom").unlink()
        assert api.query("other") == []
        wait_for(lambda: api.query('backup_bytes') == [], what="the push to be too old")
        with pytest.raises(OSError) as e:
            (folder / "noprom").write_text("x 1\n")
        assert e.value.errno == errno.EINVAL
