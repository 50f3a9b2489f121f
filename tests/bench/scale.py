#!/usr/bin/env python3
"""What grows with what is stored, or with how many come at once: memory, the start, pages.

    scale.py pushes [COUNT [MIB]]     64 uploads of 256 MiB at once: the daemon's greatest resident memory
    scale.py blobs [COUNT]            100,000 linked blobs: the start after a stop, and after kill -9
    scale.py packages [COUNT]         20,000 wheels, 10 a project: uploads, the start, the index, a page

PROGRAM names the daemon (build/release/infrafs), FOLDER where its data is (a temporary folder, which
goes). A million blobs take about 7 minutes to fill, 150,000 wheels about 4. Figures are of this
machine: compare two programs in one run, or one program with more and with less.
"""
import base64
import concurrent.futures
import hashlib
import http.client
import io
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = str(pathlib.Path(os.environ.get("PROGRAM", ROOT / "build/release/infrafs")).resolve())
AUTH = {"Authorization": "Basic " + base64.b64encode(b"bench:bench").decode()}


class Daemon:
    def __init__(self, base):
        self.base = base
        subprocess.run([PROGRAM, "user", "add", "--password-stdin", "--htpasswd", base / "htpasswd", "bench"], input=b"bench", check=True,
                       stdout=subprocess.DEVNULL)
        self.start()

    def start(self):
        command = [PROGRAM, "serve", "--data", self.base / "data", "--htpasswd", self.base / "htpasswd", "--listen", "127.0.0.1:0",
                   "--prometheus", self.base / "prometheus.yml", "--no-mount"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("INFRAFS_")}
        begin = time.monotonic()
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=log, env=environment, cwd=self.base)
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready"):
            sys.exit(f"the daemon did not start: {(self.base / 'log').read_text()}")
        self.port = int(line.split("listen=")[1].split(",")[0].rsplit(":", 1)[1])
        return time.monotonic() - begin

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()

    def restart(self, how):
        self.end(how)
        return self.start()

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def greatest_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def ask(c, method, path, body=None, expect=(200, 201, 202), **headers):
    c.request(method, path, body, {**AUTH, **headers})
    r = c.getresponse()
    content = r.read()
    if r.status not in expect:
        sys.exit(f"{method} {path}: {r.status} {content[:300]}")
    return r, content


def pushes(d, count=64, mib=256):
    blocks = [os.urandom(1 << 20) for _ in range(count)]

    def digest(block):
        h = hashlib.sha256()
        for _ in range(mib):
            h.update(block)
        return h.hexdigest()

    def push(job):
        block, want = job
        c = d.connection()
        where = ask(c, "POST", "/v2/bench/app/blobs/uploads/")[0].getheader("Location")
        where = where[where.index("/v2/"):]
        where = ask(c, "PATCH", where, iter([block] * mib), **{"Content-Length": str(mib << 20)})[0].getheader("Location")
        where = where[where.index("/v2/"):]
        ask(c, "PUT", where + ("&" if "?" in where else "?") + "digest=sha256:" + want)
        c.close()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        jobs = list(zip(blocks, pool.map(digest, blocks)))
        begin = time.monotonic()
        list(pool.map(push, jobs))
        took = time.monotonic() - begin
    print(f"{count} pushes of {mib} MiB at once: {count * mib / took:.0f} MiB/s, greatest resident memory {d.greatest_mib():.0f} MiB")


def fill(d, count, one):
    """one(connection, i) for each i, over 32 connections of two processes."""
    begin = time.monotonic()
    children = []
    for part in range(2):
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                def run(k):
                    c = d.connection()
                    for i in range(part + 2 * k, count, 32):
                        one(c, i)
                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    list(pool.map(run, range(16)))
                failed = 0
            except SystemExit as e:
                print(e, flush=True)
            finally:
                os._exit(failed)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit("filling failed")
    return time.monotonic() - begin


def starts(d, what):
    after_filling = d.restart(signal.SIGTERM)
    stopped = [d.restart(signal.SIGTERM) for _ in range(3)]
    killed = [d.restart(signal.SIGKILL) for _ in range(3)]
    print(f"{what}: ready {after_filling:.2f} s after filling and a stop, {statistics.median(stopped):.2f} s after a stop, "
          f"{statistics.median(killed):.2f} s after kill -9; resident {d.greatest_mib():.0f} MiB")


def blobs(d, count=100_000):
    def one(c, i):
        content = b"blob %d" % i
        ask(c, "POST", f"/v2/bench/r{i % 100}/blobs/uploads/?digest=sha256:{hashlib.sha256(content).hexdigest()}", content)
    took = fill(d, count, one)
    print(f"{count} blobs pushed: {count / took:.0f}/s")
    starts(d, f"{count} blobs")


def wheel(i):
    name, version = f"bench{i // 10}", f"{i % 10}.0"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
        z.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return name, version, out.getvalue()


def packages(d, count=20_000):
    def one(c, i):
        name, version, content = wheel(i)
        fields = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": name, "version": version,
                  "filetype": "bdist_wheel", "pyversion": "py3", "sha256_digest": hashlib.sha256(content).hexdigest()}
        body = b"".join(f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items())
        body += f'--B\r\nContent-Disposition: form-data; name="content"; filename="{name}-{version}-py3-none-any.whl"\r\n\r\n'.encode()
        ask(c, "POST", "/legacy/", body + content + b"\r\n--B--\r\n", **{"Content-Type": "multipart/form-data; boundary=B"})
    took = fill(d, count, one)
    print(f"{count} wheels uploaded: {count / took:.0f}/s")
    starts(d, f"{count} wheels")
    for what, path in (("index", "/simple/"), ("page of 10", "/simple/bench1/")):
        for kind in ("application/vnd.pypi.simple.v1+json", "text/html"):
            c, times = d.connection(), []
            ask(c, "GET", "/v2/")  # the password is known from now on
            for _ in range(50):
                begin = time.monotonic()
                ask(c, "GET", path, Accept=kind)
                times.append((time.monotonic() - begin) * 1000)
            print(f"{what}, {kind}: first {times[0]:.1f} ms, then {statistics.median(times[1:]):.2f} ms")


def main():
    works = {"pushes": pushes, "blobs": blobs, "packages": packages}
    if len(sys.argv) < 2 or sys.argv[1] not in works:
        sys.exit(__doc__)
    named = os.environ.get("FOLDER")
    base = pathlib.Path(named or tempfile.mkdtemp(prefix="infrafs-scale-"))
    base.mkdir(exist_ok=True)
    d = Daemon(base)
    try:
        works[sys.argv[1]](d, *map(int, sys.argv[2:]))
    finally:
        d.end(signal.SIGTERM)
        if not named:
            shutil.rmtree(base)


main()
