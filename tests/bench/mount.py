#!/usr/bin/env python3
"""How fast the mount is, beside the least that libfuse can do, in one run: ratios, not times.

    mount.py [PROGRAM]      default: build/release/infrafs; needs root, cc, libfuse3's headers

`cat` of a secret against a constant file of constfs.c, in turn, so that other load hits both alike:
with libfuse's usual timeouts of a second, and with nothing cached, as a secret must be served. Then
listings, first and again.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/infrafs").resolve()
ROUNDS = int(os.environ.get("ROUNDS", "200"))


def wait_for(check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.02)


def timed(*command, **k):
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **k)
    return (time.monotonic() - start) * 1000


def read_loop(base, paths):
    """Times in µs of reading in process, and of a cat, by path."""
    out = subprocess.run([base / "catloop", str(ROUNDS), *paths], check=True, stdout=subprocess.PIPE).stdout.decode()
    return {line.split(" ", 2)[2]: tuple(int(x) / 1000 for x in line.split(" ", 2)[:2]) for line in out.splitlines()}


def cat(base, mount):
    consts = []
    paths = {"secret": mount / "app" / "prod" / "key"}
    try:
        for name, *flags in (("usual", ), ("uncached", "-d")):
            (base / name).mkdir()
            consts.append((base / name, subprocess.Popen([base / "constfs", base / name, *flags])))
            wait_for((base / name / "file").exists)
            paths[f"constant, {name}"] = base / name / "file"
            paths[f"constant, {name}, as deep"] = base / name / "a" / "b" / "file"
        times = read_loop(base, [str(p) for p in paths.values()])
    finally:
        for folder, process in consts:
            process.terminate()
            process.wait()
            folder.rmdir()
    secret = times[str(paths.pop("secret"))]
    print(f"{'':32}{'open-read-close':>18}{'cat':>12}")
    print(f"{'secret':32}{secret[0]:15.1f} µs{secret[1]:9.0f} µs")
    for name, path in paths.items():
        t = times[str(path)]
        print(f"{name:32}{t[0]:15.1f} µs{t[1]:9.0f} µs   secret is {secret[0] / t[0]:.2f} x, cat {secret[1] / t[1]:.2f} x")


def put(session, url, token, folder, keys):
    r = session.post(f"{url}/v1/secret/data/{folder}", data=json.dumps({"data": {k: "v" for k in keys}}), headers={"X-Vault-Token": token}, timeout=60)
    r.raise_for_status()


def lists(session, url, token, mount):
    """Secrets, whose names are asked for each time: 2,000 in one folder; 10,000 files in 100 folders."""
    for i in range(100):
        put(session, url, token, f"many/e{i:03}", [f"k{k:03}" for k in range(100)])
    for i in range(2000):
        put(session, url, token, f"wide/e{i:04}", ["key"])
    for name, command in (("ls of 2,000 folders", ["ls", mount / "wide"]),
                          ("ls -l of 2,000 folders", ["ls", "-l", mount / "wide"]),
                          ("find -size over 10,000 files", ["find", mount / "many", "-size", "+0", "-type", "f"])):
        print(f"{name:40}{timed(*command):9.0f} ms{timed(*command):9.0f} ms again")


def main():
    import requests
    if os.geteuid() != 0:
        sys.exit("the mount needs root")
    with tempfile.TemporaryDirectory(prefix="fs-bench-") as folder:
        base = pathlib.Path(folder)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, stdout=subprocess.PIPE).stdout.decode().split()
        for name in ("constfs", "catloop"):
            subprocess.run(["cc", "-O2", HERE / f"{name}.c", "-o", base / name, *(flags if name == "constfs" else [])], check=True)
        mount = base / "mnt"
        daemon = subprocess.Popen([PROGRAM, "serve", "--data", base / "data", "--mount", mount, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=open(base / "log", "wb"))
        try:
            ready = daemon.stdout.readline().decode()
            url = "http://" + ready.split("listen=")[1].strip()
            token = (base / "data" / "root-token").read_text().strip()
            session = requests.Session()
            session.trust_env = False
            put(session, url, token, "app/prod", ["key"])
            cat(base, mount)
            lists(session, url, token, mount)
        finally:
            daemon.terminate()
            daemon.wait()


main()
