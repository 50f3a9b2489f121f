#!/usr/bin/env python3
"""Does the time of a refusal tell what is there? For each verb and each door, a caller without rights asks for a secret
that is there and for one that is not, in turn and in random order.

    denied.py [PROGRAM]     default: build/release/infrafs; needs root, for the mount; ROUNDS=2000

Shown are the medians in µs, and how often a refusal of what is there took longer than one of what is not: 0.50 is a
coin, and `noise` is how far from it a coin would be seen in one of twenty such rows.
"""
import bisect
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("ROUNDS", "2000"))
METHODS = ("GET", "LIST", "POST", "PUT", "PATCH", "DELETE")
NOUNS = ("data", "metadata", "delete", "undelete", "destroy", "subkeys")
BODY = json.dumps({"data": {"a": "b"}, "versions": [1]})
CALLS = """
import json, os, random, sys, time
top, rounds = sys.argv[1], int(sys.argv[2])
def calls(d):
    f = d + '/key'
    return dict(stat=lambda: os.stat(f), read=lambda: os.open(f, os.O_RDONLY), write=lambda: os.open(f, os.O_WRONLY),
                create=lambda: os.open(d + '/new', os.O_WRONLY | os.O_CREAT, 0o600), unlink=lambda: os.unlink(f),
                rename=lambda: os.rename(f, d + '/other'), mkdir=lambda: os.mkdir(d + '/sub'), rmdir=lambda: os.rmdir(d),
                list=lambda: os.listdir(d), chmod=lambda: os.chmod(f, 0o600), json=lambda: os.open(d + '/@json', os.O_RDONLY))
both = calls(top + '/stands'), calls(top + '/absent')
out = {}
for name in both[0]:
    times = [], []
    for i in range(2 * rounds):
        which = random.getrandbits(1)
        go = both[which][name]
        start = time.perf_counter_ns()
        try:
            go()
            sys.exit(name + ' was not refused')
        except OSError:
            times[which].append((time.perf_counter_ns() - start) / 1000)
    out[name] = times
json.dump(out, sys.stdout)
"""


def start(program, base):
    (base / "mnt").mkdir()
    base.chmod(0o755)
    process = subprocess.Popen([program, "serve", "--data", base / "data", "--mount", base / "mnt", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=open(base / "log", "wb"), text=True)
    for line in process.stdout:
        if line.startswith("ready "):
            return process, int(line.split("listen=")[1].split()[0].rsplit(":", 1)[1])
    sys.exit((base / "log").read_text())


class Connection:
    """As little as there can be between the two ends: a request is one send."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def request(method, path, token, body=""):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return (f"{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()

    def ask(self, request):
        self.socket.sendall(request)
        answer = self.socket.recv(65536)
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(65536)
        head, body = answer.split(b"\r\n\r\n", 1)
        length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            body += self.socket.recv(65536)
        return int(head.split(b" ")[1]), body


def vault(connection, method, path, token, value=None):
    status, body = connection.ask(connection.request(method, path, token, json.dumps(value) if value is not None else ""))
    if status not in (200, 204):
        sys.exit(f"{method} {path}: {status} {body}")
    return json.loads(body) if body else None


def over_http(connection, method, noun, token):
    body = BODY if method in ("POST", "PUT", "PATCH") else ""
    requests = [connection.request(method, f"secret/{noun}/deep/{what}/app", token, body) for what in ("stands", "absent")]
    times = [], []
    for _ in range(2 * ROUNDS):
        which = random.getrandbits(1)
        begin = time.perf_counter_ns()
        status, _ = connection.ask(requests[which])
        times[which].append((time.perf_counter_ns() - begin) / 1000)
        if status != 403:
            sys.exit(f"{method} {noun}: {status}, and no refusal")
    return times


def longer(stands, absent):
    """How often one of `stands` is the longer one: the area under the curve."""
    absent = sorted(absent)
    return sum((bisect.bisect_left(absent, t) + bisect.bisect_right(absent, t)) / 2 for t in stands) / len(stands) / len(absent)


def show(door, name, times):
    stands, absent = times
    noise = 1.96 * ((len(stands) + len(absent) + 1) / (12 * len(stands) * len(absent))) ** 0.5
    share = longer(stands, absent)
    print(f"{door:6} {name:18} {statistics.median(stands):8.1f} {statistics.median(absent):8.1f}   {share:.3f}   {'within noise' if abs(share - 0.5) <= noise else 'outside'} ({noise:.3f})", flush=True)
    return abs(share - 0.5) > noise


def main():
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/infrafs").resolve()
    with tempfile.TemporaryDirectory(prefix="infrafs-denied-") as name:
        base = pathlib.Path(name)
        process, port = start(program, base)
        try:
            root = (base / "data" / "root-token").read_text().strip()
            connection = Connection(port)
            vault(connection, "POST", "secret/data/deep/stands/app", root, {"data": {"key": "v" * 200}})
            vault(connection, "POST", "secret/data/stands", root, {"data": {"key": "v" * 200}})
            token = vault(connection, "POST", "auth/token/create", root, {"policies": ["default"]})["auth"]["client_token"]
            print(f"{'door':6} {'verb':18} {'stands':>8} {'absent':>8}   longer")
            outside, rows = 0, 0
            for noun in NOUNS:
                for method in METHODS:
                    outside += show("HTTP", f"{method} {noun}", over_http(connection, method, noun, token))
                    rows += 1
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c", CALLS, base / "mnt", str(ROUNDS)]
            for call, times in json.loads(subprocess.run(nobody, check=True, stdout=subprocess.PIPE, text=True).stdout).items():
                outside += show("mount", call, times)
                rows += 1
            print(f"{outside} of {rows} rows outside the noise; a coin would be in {rows * 0.05:.0f}")
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
