"""Secrets as people use them: large values, editors, containers, the seal as a file; and what intruders try."""
import base64
import json
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import subprocess
import tempfile
import threading
import time

import pytest
import requests

from conftest import need, run, running, wait_for

MIB = 1 << 20
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def folder(daemon, name):
    d = daemon.mount / name / "prod"
    d.mkdir(parents=True)
    return d


def fields(daemon, path):
    return daemon.vault("GET", f"secret/data/{path}").json()["data"]["data"]


@pytest.mark.parametrize("kind", ["text", "escapes", "bytes"])
def test_a_mebibyte_through_both_doors(daemon, folder, name, kind):
    text = {"text": "päß\n" * (MIB // 6), "escapes": "\"\\\n\t\x01" * (MIB // 12)}.get(kind, "")
    raw = text.encode() if text else os.urandom(MIB)
    raw += b"x" * (MIB - len(raw) if kind != "escapes" else 0)
    (folder / "file").write_bytes(raw)
    assert (folder / "file").stat().st_size == len(raw)
    assert (folder / "file").read_bytes() == raw
    over_http = fields(daemon, f"{name}/prod")["file"]
    assert (over_http.encode() if text else base64.b64decode(over_http)) == raw
    if text:
        daemon.vault("POST", f"secret/data/{name}/http", json={"data": {"file": raw.decode(), "n": 1}}).raise_for_status()
        assert (daemon.mount / name / "http" / "file").read_bytes() == raw
        assert (daemon.mount / name / "http" / "@versions" / "1" / "file").read_bytes() == raw
    run("cp", folder / "file", folder / "copy")
    run("cmp", folder / "file", folder / "copy")
    r = requests.get(f"{daemon.url}/tree/{name}/prod/copy", headers={"X-Vault-Token": daemon.root_token}, timeout=60)
    assert r.content == raw


def test_a_byte_more_is_refused_at_both_doors(daemon, folder, name):
    with pytest.raises(OSError) as e:
        (folder / "file").write_bytes(b"x" * (MIB + 1))
    assert e.value.errno == 27
    assert os.listdir(folder) == []
    r = daemon.vault("POST", f"secret/data/{name}/http", json={"data": {"file": "x" * (MIB + 1)}})
    assert r.status_code == 413 and "up to 1048576 bytes" in r.text
    assert daemon.vault("GET", f"secret/data/{name}/http").status_code == 404


def edit(command, keys, seconds=120):
    """Runs a program at a terminal; types each text once what it waits for is on the screen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", HOME="/nonexistent")
        os.execvp(command[0], command)
    screen, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.05)[0]:
                try:
                    more = os.read(fd, 65536)
                except OSError:
                    more = b""
                if not more:
                    break
                screen += more
            if keys and keys[0][0] in screen:
                os.write(fd, keys.pop(0)[1])
                screen = b""
        else:
            raise AssertionError(f"{command[0]} did not end; the screen: {screen[-2000:]!r}")
    finally:
        os.close(fd)
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, 15)
            os.waitpid(pid, 0)


def test_nano_writes(daemon, folder, name):
    nano = need("nano")
    (folder / "key").write_text("one\n")
    edit([nano, "--ignorercfiles", str(folder / "key")], [(b"one", b"new "), (b"Modified", b"\x0f"), (b"Write", b"\r"), (b"Wrote", b"\x18")])
    assert (folder / "key").read_text() == "new one\n"
    assert fields(daemon, f"{name}/prod") == {"key": "new one\n"}
    assert os.listdir(folder) == ["key"]


def test_emacs_writes(daemon, folder, name):
    """With its lock link, its backup file and its autosave."""
    emacs = need("emacs")
    (folder / "key").write_text("one\n")
    for i in range(2):
        run(emacs, "-Q", "--batch", folder / "key", "--eval",
            f'(progn (setq make-backup-files t) (lock-buffer) (goto-char 1) (insert "v{i} ") (do-auto-save) (save-buffer))')
    assert (folder / "key").read_text() == "v1 v0 one\n"
    assert fields(daemon, f"{name}/prod") == {"key": "v1 v0 one\n"}
    assert os.listdir(folder) == ["key"]


def test_vim_writes(daemon, folder, name):
    vim = need("vim")
    (folder / "key").write_text("one\n")
    run(vim, "-Nes", "-u", "NONE", "-c", "%s/one/two/", "-c", "wq", folder / "key", stdin=subprocess.DEVNULL)
    assert (folder / "key").read_text() == "two\n"
    assert fields(daemon, f"{name}/prod") == {"key": "two\n"}
    assert os.listdir(folder) == ["key"]


@pytest.fixture
def container(tmp_path):
    """Runs a command in podman, from a static busybox; options come before it."""
    podman, busybox = need("podman", "busybox")
    base = pathlib.Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
    rootfs = tmp_path / "rootfs"
    for made in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
        (rootfs / made).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin" / "busybox")
    for tool in ("sh", "cat", "env", "ls"):
        (rootfs / "bin" / tool).symlink_to("busybox")
    environment = dict(os.environ, HOME=str(base), XDG_RUNTIME_DIR=str(base))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def call(options, *command):
        r = run(podman, "--root", base / "root", "--runroot", base / "run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
                "--events-backend", "none", "run", "--rm", "--network=host", "--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1000:1000",
                *options, "--rootfs", rootfs, *command, ok=False, env=environment, cwd=base)
        if r.returncode != 0 and re.search("cgroup|operation not permitted", r.text) and not os.environ.get("INFRAFS_NO_SKIP"):
            pytest.skip("podman runs no containers here: " + r.text[-300:])
        assert r.returncode == 0, r.text
        return r.text
    yield call
    for line in reversed(open("/proc/mounts").read().splitlines()):
        if str(base) in line.split()[1]:
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(base, ignore_errors=True)


def test_a_container_takes_its_environment(daemon, folder, name, container):
    values = {"URL": "postgres://u:p'\"@h/db?a=b&c=$d", "TWO": "two words", "EMPTY": ""}
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": values}).raise_for_status()
    got = dict(line.split("=", 1) for line in container(["--env-file", folder / "@docker-env"], "/bin/env").splitlines() if "=" in line)
    assert {k: got.get(k) for k in values} == values


def test_a_container_sees_the_folder(daemon, folder, name, container):
    """A bind mount of an environment: what is written outside while it runs is seen inside."""
    (folder / "key").write_text("one")
    script = "cat /run/secrets/key; echo; echo inside > /run/secrets/made; n=0; until [ \"$(cat /run/secrets/key)\" = two ]; do n=$((n+1)); [ $n -lt 20000 ] || exit 3; done; ls /run/secrets"

    def change():
        wait_for(lambda: (folder / "made").exists(), 60)
        daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"key": "two", "made": "inside\n"}}).raise_for_status()
    t = threading.Thread(target=change)
    t.start()
    text = container(["-v", f"{folder}:/run/secrets"], "/bin/sh", "-c", script)
    t.join()
    assert text.split() == ["one", "key", "made"]
    assert (folder / "made").read_text() == "inside\n"


def test_the_seal_is_a_file():
    with running() as d:
        seal = d.mount / ".infra" / "seal"
        (d.mount / "s").mkdir()
        (d.mount / "s" / "k").write_text("v")
        assert seal.read_text().splitlines() == ["unsealed", "term 1"]
        assert "seal" in os.listdir(d.mount / ".infra")
        for bad in ("open", ""):
            with pytest.raises(OSError) as e:
                run_write(seal, bad or "x" * 100)
            assert e.value.errno in (22, 27)
        r = run(*NOBODY, "sh", "-c", f"echo seal > {seal}", ok=False)
        assert r.returncode != 0 and seal.read_text().startswith("unsealed")
        run("sh", "-c", f"echo seal > {seal}")
        assert seal.read_text().splitlines()[0] == "sealed"
        assert d.vault("GET", "sys/seal-status").json()["sealed"] is True
        assert d.vault("GET", "secret/data/s").status_code == 503
        with pytest.raises(PermissionError):
            (d.mount / "s" / "k").read_text()
        run("sh", "-c", f"echo unseal > {seal}")
        assert seal.read_text().splitlines()[0] == "unsealed"
        assert (d.mount / "s" / "k").read_text() == "v"
        assert sum('"path":".infra/seal","result":0' in line for line in (d.data / "audit.log").read_text().splitlines()) == 2


def run_write(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def test_only_people_open_what_shares_closed():
    with running(config="unseal: shamir\n") as d:
        requests.put(f"{d.url}/v1/sys/init", json={"secret_shares": 3, "secret_threshold": 2}, timeout=60).raise_for_status()
        seal = d.mount / ".infra" / "seal"
        assert seal.read_text().splitlines()[0] == "sealed"
        with pytest.raises(PermissionError):
            run_write(seal, "unseal")


# What a caller without rights may try: method, path below /v1/, body.
DENIED = [(m, f"secret/{noun}/{path}", {"data": {"a": "b"}, "versions": [1]})
          for noun in ("data", "metadata", "delete", "undelete", "destroy", "subkeys") for path in ("there", "there/x", "nothing", "nothing/x/y")
          for m in ("GET", "LIST", "POST", "PUT", "DELETE", "PATCH")]


def test_what_is_denied_is_denied_alike(daemon, name):
    """Nobody learns what is there: of every verb, for what is there and what is not, one refusal."""
    for path in (f"{name}/there", f"{name}/there/x"):
        daemon.vault("POST", f"secret/data/{path}", json={"data": {"a": "1"}}).raise_for_status()
    token = daemon.vault("POST", "auth/token/create", json={"policies": ["default"]}).json()["auth"]["client_token"]
    for who, want in ((token, ["1 error occurred:\n\t* permission denied\n\n"]), ("s.nobody", ["permission denied"])):
        seen = {}
        for method, path, body in DENIED:
            path = path.replace("there", f"{name}/there").replace("nothing", f"{name}/nothing")
            headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
            r = daemon.vault(method, path, token=who, headers=headers, json=body if method in ("POST", "PUT", "PATCH") else None)
            seen[(r.status_code, r.text, tuple(sorted(k for k in r.headers if k != "Date")))] = (method, path)
        assert len(seen) == 1, seen
        status, text, _ = next(iter(seen))
        assert status == 403 and json.loads(text) == {"errors": want}


def test_what_is_denied_in_the_tree_is_not_there(daemon, folder, name):
    """One errno for each call, whether something is there or not."""
    (folder / "key").write_text("secret")
    script = f"""
import errno, os
top = {str(daemon.mount)!r} + '/' + {name!r}
for what in ('prod', 'none'):
    d, f = top + '/' + what, top + '/' + what + '/key'
    calls = dict(stat=lambda: os.stat(f), read=lambda: os.open(f, os.O_RDONLY), write=lambda: os.open(f, os.O_WRONLY), create=lambda: os.open(d + '/new', os.O_WRONLY | os.O_CREAT, 0o600),
                 unlink=lambda: os.unlink(f), rename=lambda: os.rename(f, d + '/other'), rmdir=lambda: os.rmdir(d), list=lambda: os.listdir(d), mkdir=lambda: os.mkdir(d + '/sub'),
                 chmod=lambda: os.chmod(f, 0o600), xattr=lambda: os.getxattr(f, 'user.vault.version'), env=lambda: open(d + '/@env'), meta=lambda: open(d + '/@meta'), old=lambda: open(d + '/@versions/1/key'))
    for call, go in calls.items():
        try:
            go()
            print(call, 'DONE')
        except OSError as e:
            print(call, errno.errorcode[e.errno])
"""
    lines = run(*NOBODY, "python3", "-c", script).text.splitlines()
    there, nothing = lines[:len(lines) // 2], lines[len(lines) // 2:]
    assert there == nothing
    assert not any("DONE" in line for line in lines), lines


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def test_ten_thousand_wrong_passwords():
    """They take no memory, and whoever knows his password gets in meanwhile. The hash is a cheap one: it is the number that counts."""
    with running(mount=False) as d:
        bcrypt_line = run("htpasswd", "-nbB", "-C", "4", "cheap", "right").text.strip() if shutil.which("htpasswd") else None
        if bcrypt_line:
            d.htpasswd.write_text(bcrypt_line + "\n")
        user, right = ("cheap", "right") if bcrypt_line else (d.user, d.password)
        total = 10_000 if bcrypt_line else 200
        counts, lock = {}, threading.Lock()

        def attack(n):
            session = requests.Session()
            session.trust_env = False
            for i in range(total // 20):
                who = user if (i + n) % 2 else f"unknown{i}"
                r = session.post(f"{d.url}/v1/auth/userpass/login/{who}", json={"password": f"wrong{n}-{i}"}, timeout=60)
                with lock:
                    counts[(r.status_code, r.text)] = counts.get((r.status_code, r.text), 0) + 1

        requests.post(f"{d.url}/v1/auth/userpass/login/{user}", json={"password": "wrong"}, timeout=60)
        before = resident_kib(d.process.pid)
        threads = [threading.Thread(target=attack, args=(n,)) for n in range(20)]
        [t.start() for t in threads]
        entered = 0
        while any(t.is_alive() for t in threads):
            r = requests.post(f"{d.url}/v1/auth/userpass/login/{user}", json={"password": right}, timeout=60)
            assert r.status_code in (200, 503), r.text
            entered += r.status_code == 200
        [t.join() for t in threads]
        assert entered > 0
        assert sum(counts.values()) == total
        refused = [json.loads(text) for status, text in counts if status == 400]
        assert refused == [{"errors": ["invalid username or password"]}]
        assert all(status in (400, 503) for status, _ in counts), counts
        if "san.so" not in open(f"/proc/{d.process.pid}/maps").read():  # a sanitizer keeps what was freed
            assert resident_kib(d.process.pid) - before < 32 * 1024
