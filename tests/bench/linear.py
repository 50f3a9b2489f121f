#!/usr/bin/env python3
"""What a query costs by the samples it reads: 10 to 10,000 series, an hour to seven days of them.

    linear.py [NAME=URL …]      none: build/release/infrafs, started here; others must take remote write

Loads 10,000 series of a sample every 15 minutes over seven days (6.7 M samples) by remote write, then prints for
each function and number of series the median of five for each span, in ms, and ns a sample that is read. What
stays the same from one column to the next costs by the sample; what falls is what a query costs at all.
"""
import os.path
import sys

sys.path[0] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e")  # copy.py beside this is not Python's

import importlib.util
import re
import statistics
import tempfile
import time
import urllib.parse

from promqltest import double, field, snappy, varint_field

spec = importlib.util.spec_from_file_location("dashboard", os.path.join(os.path.dirname(os.path.abspath(__file__)), "dashboard.py"))
dashboard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dashboard)

SERIES, STEP, DAYS = 10000, 900, 7
SPANS = {"1 h": 3600, "6 h": 6 * 3600, "24 h": 86400, "7 d": 7 * 86400}
QUERIES = ["sum(linear_total%s)", "sum(rate(linear_total%s[1h]))", "sum(max_over_time(linear_total%s[6h]))", "linear_total%s"]


def load(peer, end):
    n = DAYS * 86400 // STEP
    for first in range(0, SERIES, 50):
        body = []
        for i in range(first, first + 50):
            labels = {"__name__": "linear_total", "few": str(min(len(str(i)), 4)), "i": str(i)}
            head = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in labels.items())
            body.append(field(1, head + b"".join(
                field(2, double(1, round(i + k * (i % 7 + 0.25), 2)) + varint_field(2, (end - STEP * (n - 1 - k)) * 1000)) for k in range(n))))
        status, answer = peer.ask("/api/v1/write", snappy(b"".join(body)), {
            "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"})
        if status // 100 != 2:
            sys.exit(f"remote write: {status} {answer[:200]}")


def ask(peer, text, end, span):
    form = urllib.parse.urlencode({"query": text, "start": end - span + STEP, "end": end, "step": STEP, "stats": "all", "nocache": 1})
    begun = time.perf_counter()
    status, answer = peer.ask("/api/v1/query_range", form, {"Content-Type": "application/x-www-form-urlencoded"})
    took = time.perf_counter() - begun
    if status != 200:
        sys.exit(f"{text}: {status} {answer[:200]}")
    read = re.search(rb'"samplesRead":(\d+)', answer[-2000:])
    return took, int(read.group(1)) if read else None


def main():
    end = int(time.time()) // STEP * STEP - STEP
    server = None
    with tempfile.TemporaryDirectory() as directory:
        peers = [dashboard.Peer(*a.split("=", 1), {}) for a in sys.argv[1:]]
        if not peers:
            os.environ["INFRAFS_METRICS_OUT_OF_ORDER_WINDOW"] = "30d"
            server, peer = dashboard.start(directory)
            peers = [peer]
        try:
            for p in peers:
                load(p, end)
            for p in peers:
                print(f"{p.name:12}" + "".join(f"{s:>22}" for s in SPANS))
                for text in QUERIES:
                    for digits in (1, 2, 3, 4):
                        cells = []
                        for span in SPANS.values():
                            query = text % ('{few=~"[1-%d]"}' % digits)
                            runs = [ask(p, query, end, span) for _ in range(5)]
                            took = statistics.median(r[0] for r in runs)
                            read = runs[0][1] or 10 ** digits * span // STEP
                            cells.append(f"{took * 1000:9.1f} {took * 1e9 / read:8.1f} ns")
                        print(f"{10 ** digits:6} series" + "".join(f"{c:>22}" for c in cells) + "   " + text % "")
        finally:
            if server is not None:
                server.terminate()
                server.wait(60)


if __name__ == "__main__":
    main()
