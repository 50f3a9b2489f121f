#!/usr/bin/env python3
"""How fast `cp` publishes large wheels into the mount, beside cp and fsync on the same disk: ratios.

    copy.py [PROGRAM]       default: build/release/infrafs; needs root

The two take turns, so that other load hits both alike. ROUNDS pairs (10) of wheels of MIB MiB (200),
each with other content; they are made in FOLDER (a temporary one, kept if named), which also has the
data directory and the plain copies. What counts is the last line: both are durable, and into the mount
the wheel was hashed and checked.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/infrafs").resolve()
ROUNDS = int(os.environ.get("ROUNDS", "10")) + 1  # the first one only warms up
MIB = int(os.environ.get("MIB", "200"))


def make_wheel(path, version, payload):
    info = f"big-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("big/version.txt", version)
        z.writestr("big/payload.bin", payload)
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: big\nVersion: {version}\n\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")


def make_wheels(folder):
    payload = os.urandom(1 << 20) * MIB
    wheels = [folder / f"big-{i}.0-py3-none-any.whl" for i in range(ROUNDS)]
    for i, wheel in enumerate(wheels):
        if not wheel.exists():
            make_wheel(wheel, f"{i}.0", payload)
        wheel.read_bytes()
    os.sync()
    return wheels


def start(base):
    command = [PROGRAM, "serve", "--data", base / "data", "--htpasswd", base / "htpasswd", "--listen", "127.0.0.1:0",
               "--prometheus", base / "prometheus.yml", "--mount", base / "mnt"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INFRAFS_")}
    daemon = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=open(base / "log", "wb"),
                              env=environment, cwd=base)
    if not daemon.stdout.readline().startswith(b"ready"):
        sys.exit(f"the daemon did not start: {(base / 'log').read_text()}")
    return daemon


def into_mount(wheel, base):
    start = time.monotonic()
    subprocess.run(["cp", wheel, base / "mnt" / "packages"], check=True)
    return time.monotonic() - start


def to_disk(wheel, base):
    target = base / wheel.name
    start = time.monotonic()
    subprocess.run(["cp", wheel, target], check=True)
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    taken = time.monotonic() - start
    os.close(fd)
    return taken


def let_go_of_cache(base):
    """What was written leaves the page cache, so that each copy finds memory that was used before: on a
    virtual machine the first use of a page costs several times as much as the copy into it."""
    os.sync()
    for path in [*base.glob("*.whl"), *(base / "data" / "rocksdb").glob("*.sst")]:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def measure(folder, base):
    wheels = make_wheels(folder)
    pairs = []
    daemon = start(base)
    try:
        into_mount(wheels[0], base)  # the first one starts threads and fills caches
        for i, wheel in enumerate(wheels[1:]):
            turns = (to_disk, into_mount) if i % 2 == 0 else (into_mount, to_disk)
            took = {}
            for turn in turns:
                took[turn] = turn(wheel, base)
                let_go_of_cache(base)
            pairs.append((took[to_disk], took[into_mount]))
            print(f"cp and fsync {pairs[-1][0]:.3f} s   into the mount {pairs[-1][1]:.3f} s   {pairs[-1][0] / pairs[-1][1]:.2f} x", flush=True)
    finally:
        daemon.terminate()
        daemon.wait()
    disk, mount = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{MIB} MiB, median of {len(pairs)}: cp and fsync {disk:.3f} s, into the mount {mount:.3f} s: {ratio:.2f} x")


def main():
    named = os.environ.get("FOLDER")
    folder = pathlib.Path(named or tempfile.mkdtemp(prefix="infrafs-copy-")).resolve()
    base = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    try:
        measure(folder, base)
    finally:
        shutil.rmtree(base if named else folder)


main()
