"""What targets and writers may send that they should not: each is refused with a reason, costs little, and the
neighbours go on."""
import gzip
import http.server
import re
import threading
import time
import zlib

import pytest

from conftest import program, running, wait_for
from test_metrics_store import field, snappy, varint
from test_prometheus import Api, Target, config, job


class Raw:
    """A target that sends what it is told to: an iterable of pieces, without a length."""

    def __init__(self, pieces, headers=()):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                for k, v in headers:
                    self.send_header(k, v)
                self.end_headers()
                try:
                    for piece in pieces():
                        self.wfile.write(piece)
                except OSError:
                    pass
                self.close_connection = True

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def endless():
    while True:
        yield b"a 1\n" * 16384


def bomb():
    z = zlib.compressobj(9, wbits=31)
    zeros = b"0" * (1 << 20)
    for _ in range(1024):
        yield z.compress(zeros)
    yield z.flush()


def long_line():
    yield b'a{l="'
    while True:
        yield b"x" * 65536


def long_label():
    yield b'a{l="' + b"x" * (2 << 20) + b'"} 1\n'


def many_labels():
    yield b"a{" + b",".join(b'l%d="1"' % i for i in range(5000)) + b"} 1\n"


def cut():
    """Of a body only the first half arrives; what there is of it would read."""
    whole = gzip.compress("".join(f"a{i} {i * 7919 % 1000003}\n" for i in range(20000)).encode())
    yield whole[:len(whole) // 2]


def cut_in_its_end():
    """All of the text arrives, but not all of the checksum and the length behind it."""
    yield gzip.compress(b"a 1\n")[:-3]


def damaged():
    """Another checksum than that of the text."""
    whole = bytearray(gzip.compress(b"a 1\n"))
    whole[-6] ^= 1
    yield bytes(whole)


@pytest.fixture(scope="module")
def small():
    with running(mount=False, environment={"INFRAFS_LIMITS_SCRAPE_BODY": "4MiB"}) as d:
        yield d


def rss_mib(d):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{d.process.pid}/status").read())[1]) >> 10


@pytest.mark.parametrize("pieces, headers, words", [
    (endless, (), "body"), (bomb, (("Content-Encoding", "gzip"),), "body"), (long_line, (), "body"),
    (long_label, (), "labels of"), (many_labels, (), "label"),
    (lambda: [b"a\xff 1\n"], (), ""), (lambda: [b'a{l="\xff"} 1\n'], (), "UTF-8"), (lambda: [b'a{l="1",l="2"} 1\n'], (), "not unique"),
    (cut, (("Content-Encoding", "gzip"),), "unexpected EOF"), (cut_in_its_end, (("Content-Encoding", "gzip"),), "unexpected EOF"),
    (damaged, (("Content-Encoding", "gzip"),), "gzip")])
def test_scrapes(small, pieces, headers, words):
    bad, good = Raw(pieces, headers), Target()
    try:
        small.prometheus.write_text(config(job("bad", bad.address), job("good", good.address)))
        api = Api(small)
        wait_for(lambda: api.value(f'up{{instance="{bad.address}"}}') == 0 and api.value(f'up{{instance="{good.address}"}}') == 1,
                 30, "both to be scraped")

        def told():  # a busy machine may be too late with an answer: the next one says why
            (target,) = api.get("targets", scrapePool="bad")["data"]["activeTargets"]
            return words in target["lastError"] and target["lastError"]

        wait_for(told, 30, f"the reason: {words}")
        assert not api.query('a{job="bad"}')
        seen = good.scrapes
        wait_for(lambda: good.scrapes > seen + 2, 30, "the neighbour to go on")
        assert rss_mib(small) < 600  # with sanitizers too
    finally:
        small.prometheus.write_text("")
        bad.close()
        good.close()


def test_a_body_of_many_series():
    """100,000 series at once are taken, and gone again when the target says so."""
    target = Target()
    target.body = "".join(f'many{{n="{i}"}} {i}\n' for i in range(100_000))
    try:
        with running(mount=False) as d:
            d.prometheus.write_text(config(job("j", target.address), interval="5s"))
            api = Api(d)
            wait_for(lambda: api.value("count(many)") == 100_000, 60, "the series")
            assert api.value("max_over_time(scrape_series_added[1h])") == 100_000  # of the first scrape; 0 for the next
            target.body = "many 1\n"
            wait_for(lambda: api.value("count(many)") == 1, 60, "them to go")
    finally:
        target.close()


def test_a_body_of_a_million_series(released):
    """It is taken, in little memory, the neighbour is scraped meanwhile, and after kill -9 all of it is there."""
    big, small = Target(), Target()
    text = "".join(f'many{{n="{i}",zone="z{i % 7}"}} {i}\n' for i in range(1_000_000)).encode()
    half = len(text) // 2
    big.body = gzip.compress(text[:half], 1) + gzip.compress(text[half:], 1)  # two members are one text
    big.coded = True
    try:
        with running(mount=False) as d:
            d.prometheus.write_text(config(job("big", big.address), interval="10s").replace("scrape_configs:\n", "scrape_configs:\n" + job("small", small.address, more="  scrape_interval: 1s\n  scrape_timeout: 1s\n")))
            api = Api(d)
            wait_for(lambda: api.value("count(many)") == 1_000_000, 60, "the series")
            api.soon('scrape_samples_scraped{job="big"}', 1_000_000)
            seen, beside = big.scrapes, small.scrapes
            wait_for(lambda: big.scrapes > seen and api.value('up{job="big"}') == 1, 60, "another scrape")
            assert small.scrapes > beside and api.value('max_over_time(up{job="small"}[1h])') == 1
            if "asan" not in program():
                assert rss_mib(d) < 600
            db_synced = time.monotonic() + 2
            wait_for(lambda: time.monotonic() > db_synced, 10)
            d.kill9()
            d.start()
            assert api.value("count(last_over_time(many[5m]))") == 1_000_000
    finally:
        big.close()
        small.close()


@pytest.mark.parametrize("body", [
    b"", b"xyz", varint(1 << 32) + b"\x00a", varint((1 << 31) - 1) + b"\x00a", b"\xff" * 11, snappy(b"\xff" * 100),
    snappy(field(1, field(1, b"\xff"))), varint(100) + b"\x00a"])
def test_writers(small, body):
    r = small.http().post("/api/v1/write", data=body, headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
    assert r.status_code in (400, 413), r.text
    assert r.text


def test_labels_of_writers(small):
    """Duplicate, without a name, not sorted, not UTF-8, huge: what is valid of a request counts."""
    now = 1000 * int(time.time())

    def series(*pairs):
        return field(1, b"".join(field(1, field(1, k) + field(2, v)) for k, v in pairs) + field(2, field(1, 1.0) + field(2, now)))

    body = snappy(series((b"z", b"1"), (b"__name__", b"w_sorted"), (b"a", b"2"))
                  + series((b"__name__", b"w_twice"), (b"a", b"1"), (b"a", b"2")) + series((b"a", b"nameless"))
                  + series((b"__name__", b"w_utf"), (b"a", b"\xff")))
    r = small.http().post("/api/v1/write", data=body, headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
    assert r.status_code in (204, 400), r.text
    api = Api(small)
    assert api.query("w_sorted")[0]["metric"] == {"__name__": "w_sorted", "a": "2", "z": "1"}
    assert not api.query('{a=~"nameless|1"}') and not api.query("w_utf") and not api.query("w_twice")
