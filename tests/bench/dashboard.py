#!/usr/bin/env python3
"""A board of 20 panels over 100,000 series, an hour of samples every 15 s, six panels at once as a browser asks.

    dashboard.py [NAME=URL …]      none: build/release/infrafs, started here; others must take remote write

Loads 200 hosts of 500 series into each by remote write (24 M samples), then prints for each panel the median
of five, and for the board the time from the first request to the last answer: first, median and best of nine.
"""
import os.path
import sys

sys.path[0] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e")  # copy.py beside this is not Python's

import base64
import http.client
import math
import pathlib
import queue
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

from promqltest import double, field, snappy, varint_field

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOSTS, STEP, SAMPLES = 200, 15, 240
MODES = "idle iowait irq nice softirq steal system user guest".split()
BOUNDS = "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf".split()
STATES = "activating active deactivating failed inactive".split()
PANELS = [
    "sum by (mode) (rate(cpu_seconds_total[5m]))", 'avg by (instance) (rate(cpu_seconds_total{mode="idle"}[5m]))',
    'sum(rate(cpu_seconds_total{mode!="idle"}[5m])) / sum(rate(cpu_seconds_total[5m]))',
    "topk(5, sum by (instance) (rate(receive_bytes_total[5m])))", "sum by (device) (rate(transmit_bytes_total[5m]))",
    "sum(rate(receive_errs_total[5m]))", "histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket[5m])))",
    "histogram_quantile(0.5, sum by (le, handler) (rate(request_seconds_bucket[5m])))",
    "sum by (handler) (rate(request_seconds_count[5m]))",
    "sum by (handler) (rate(request_seconds_sum[5m])) / sum by (handler) (rate(request_seconds_count[5m]))",
    'load1{instance=~"host1.?"}', "avg(load5)", "max(load15)", "sum(memory_free_bytes) / sum(memory_total_bytes)",
    "1 - avg by (mount) (disk_free_bytes / disk_size_bytes)", "sum by (device) (rate(written_bytes_total[5m]))",
    "topk(3, sum by (instance) (increase(read_bytes_total[10m])))", "count by (state) (unit_state == 1)",
    'max by (instance) (temperature_celsius{instance=~"host[0-4]"})', "sum(rate(context_switches_total[5m]))"]


def host_series():
    """(name, labels, kind) of the 500 series of a host."""
    out = [("cpu_seconds_total", {"cpu": str(c), "mode": m}, "cpu") for c in range(8) for m in MODES]
    out += [("request_seconds_bucket", {"handler": f"/{h}", "le": le}, "count") for h in range(6) for le in BOUNDS]
    out += [(f"request_seconds_{p}", {"handler": f"/{h}"}, k) for h in range(6) for p, k in (("sum", "cpu"), ("count", "count"))]
    out += [(f"{n}_total", {"device": f"eth{d}"}, "count") for d in range(5) for n in
            ("receive_bytes", "transmit_bytes", "receive_errs", "transmit_errs", "receive_drop", "transmit_drop")]
    out += [(f"{n}_total", {"device": f"sd{d}"}, "count") for d in range(6) for n in ("read_bytes", "written_bytes", "reads", "writes")]
    out += [(f"disk_{n}_bytes", {"mount": f"/data{d}"}, "bytes") for d in range(6) for n in ("free", "size")]
    out += [("unit_state", {"name": f"svc{u}", "state": s}, "one" if s == "active" else "zero") for u in range(22) for s in STATES]
    out += [(n, {}, "load") for n in ("load1", "load5", "load15")] + [(f"memory_{n}_bytes", {}, "bytes") for n in ("free", "total", "cached")]
    out += [("context_switches_total", {}, "count")]
    return out + [("temperature_celsius", {"sensor": str(i)}, "load") for i in range(500 - len(out))]


def value(kind, variant, k):
    wave = math.sin((k + 7 * variant) / (20 + variant))
    return {"cpu": round(1000 * variant + k * (1 + variant % 9) + 0.4 * wave, 2), "count": 1e6 * variant + 12345 * k + int(5000 * wave),
            "bytes": 4096 * int(1e6 + 1e5 * wave), "load": round(2 + wave, 2), "one": 1.0, "zero": 0.0}[kind]


def load(peer, end):
    blocks = {}
    for kind in ("cpu", "count", "bytes", "load", "one", "zero"):
        for variant in range(16):
            blocks[kind, variant] = b"".join(field(2, double(1, value(kind, variant, k)) + varint_field(2, (end - STEP * (SAMPLES - 1 - k)) * 1000))
                                             for k in range(SAMPLES))
    series = host_series()
    for host in range(HOSTS):
        body = []
        for i, (name, labels, kind) in enumerate(series):
            all_labels = sorted({"__name__": name, "instance": f"host{host}", "job": "node", **labels}.items())
            head = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in all_labels)
            body.append(field(1, head + blocks[kind, (host * 7 + i) % 16]))
        status, answer = peer.ask("/api/v1/write", snappy(b"".join(body)), {
            "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"})
        if status // 100 != 2:
            sys.exit(f"remote write: {status} {answer[:200]}")


class Peer:
    def __init__(self, name, url, headers):
        self.name, self.address, self.headers = name, urllib.parse.urlparse(url).netloc, headers
        self.connection = self.connect()

    def connect(self):
        c = http.client.HTTPConnection(self.address, timeout=120)
        c.connect()
        return c

    def ask(self, path, body, headers, connection=None):
        c = connection or self.connection
        c.request("POST", path, body, {**self.headers, **headers})
        r = c.getresponse()
        return r.status, r.read()

    def panel(self, text, end, connection=None):
        form = urllib.parse.urlencode({"query": text, "start": end - 3600, "end": end, "step": STEP, "nocache": 1})
        status, answer = self.ask("/api/v1/query_range", form, {"Content-Type": "application/x-www-form-urlencoded"}, connection)
        if status != 200:
            sys.exit(f"{text}: {status} {answer[:200]}")

    def board(self, end):
        left = queue.SimpleQueue()
        for text in PANELS:
            left.put(text)

        def browser(connection):
            while not left.empty():
                try:
                    self.panel(left.get_nowait(), end, connection)
                except queue.Empty:
                    return
        threads = [threading.Thread(target=browser, args=(self.connect(),)) for _ in range(6)]
        begun = time.perf_counter()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return (time.perf_counter() - begun) * 1000


def timed(f):
    begun = time.perf_counter()
    f()
    return (time.perf_counter() - begun) * 1000


def start(directory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([ROOT / "build/release/infrafs", "serve", "--data", directory, "--no-mount", "--listen", f"127.0.0.1:{port}"],
                              stdout=subprocess.PIPE, text=True)
    while "ready" not in server.stdout.readline():
        if server.poll() is not None:
            sys.exit("infrafs did not start")
    token = (pathlib.Path(directory) / "root-token").read_text().strip()
    basic = base64.b64encode(f"root:{token}".encode()).decode()
    return server, Peer("infrafs", f"http://127.0.0.1:{port}", {"Authorization": f"Basic {basic}", "X-Vault-Token": token})


def main():
    end = int(time.time()) // 60 * 60 - 60
    server = None
    with tempfile.TemporaryDirectory() as directory:
        peers = [Peer(*a.split("=", 1), {}) for a in sys.argv[1:]]
        if not peers:
            server, peer = start(directory)
            peers = [peer]
        try:
            for p in peers:
                load(p, end)
            print("   ".join(f"{p.name:>12}" for p in peers) + "   ms")
            for text in PANELS:
                print("   ".join(f"{statistics.median(timed(lambda p=p: p.panel(text, end)) for _ in range(5)):12.1f}" for p in peers) + f"   {text}")
            for p in peers:
                runs = [p.board(end) for _ in range(9)]
                print(f"{p.name}: the board, 20 panels: first {runs[0]:.0f} ms, median {statistics.median(runs):.0f}, best {min(runs):.0f}")
        finally:
            if server is not None:
                server.terminate()
                server.wait(60)


if __name__ == "__main__":
    main()
