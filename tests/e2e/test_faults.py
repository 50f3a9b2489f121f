"""What goes wrong: ports, data folders, disks, kills. Each is a clear message, and the next start just works."""
import errno
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import make
import pytest
from conftest import program, run, running, wait_for


def serve(*arguments):
    return subprocess.run([program(), "serve", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def test_port_in_use(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = "127.0.0.1:%d" % s.getsockname()[1]
        r = serve("--data", tmp_path / "d", "--no-mount", "--listen", address)
    assert r.returncode != 0
    assert address.encode() in r.stderr and b"in use" in r.stderr


def test_data_already_open(daemon):
    r = serve("--data", daemon.data, "--no-mount", "--listen", "127.0.0.1:0")
    assert r.returncode != 0
    assert b"already open" in r.stderr
    assert daemon.http().get("/health").status_code == 200


def test_data_of_another_version():
    with running(mount=False) as d:
        d.stop()
        versions = [p for p in (d.data / "store").rglob("*") if p.is_file() and "version" in p.name.lower()]
        assert versions, "no version file in the store"
        kept = versions[0].read_bytes()
        versions[0].write_text("99\n")
        r = serve("--data", d.data, "--no-mount", "--listen", "127.0.0.1:0")
        assert r.returncode != 0 and b"version" in r.stderr
        versions[0].write_bytes(kept)
        d.start()


def test_configuration_that_does_not_parse(tmp_path):
    (tmp_path / "infrafs.yml").write_text("data: /tmp/x\nlisten: [\n")
    r = serve("--config", tmp_path / "infrafs.yml")
    assert r.returncode == 78 and b"line" in r.stderr
    (tmp_path / "infrafs.yml").write_text("dta: /tmp/x\n")
    r = serve("--config", tmp_path / "infrafs.yml")
    assert r.returncode == 78 and b"line 1, column 1" in r.stderr and b"'data'" in r.stderr


def test_mount_under_which_the_data_lies(tmp_path):
    (tmp_path / "m").mkdir()
    r = serve("--data", tmp_path / "m" / "data", "--mount", tmp_path / "m", "--listen", "127.0.0.1:0")
    assert r.returncode != 0 and b"mount" in r.stderr
    assert not os.path.ismount(tmp_path / "m")


def test_cut_keyfile_says_so_and_the_rest_is_served():
    with running() as d:
        d.vault("POST", "secret/data/k", json={"data": {"a": "b"}}).raise_for_status()
        d.stop()
        key = d.data / "unseal.key"
        kept = key.read_bytes()
        key.write_bytes(kept[:10])
        d.start()
        assert "unseal.key" in d.tail()
        r = d.vault("GET", "secret/data/k")
        assert r.status_code == 503 and r.json() == {"errors": ["Vault is sealed"]}
        with pytest.raises(OSError) as e:
            (d.mount / "k" / "a").read_text()
        assert e.value.errno in (errno.EACCES, errno.ENOENT)
        assert d.http().get("/v2/").status_code == 200
        d.stop()
        key.write_bytes(kept)
        d.start()
        assert d.vault("GET", "secret/data/k").json()["data"]["data"] == {"a": "b"}


def test_killed_daemon_keeps_what_was_acknowledged():
    image = make.Image()
    name, content = make.wheel("kept", "1.0")
    with running() as d:
        s = d.http()
        d.vault("POST", "secret/data/app/prod", json={"data": {"password": "one"}}).raise_for_status()
        (d.mount / "packages" / name).write_bytes(content)
        make.push_image(s, "team/app", "1.0", image)
        (d.mount / "app" / "prod" / "user").write_text("bob")
        d.kill9()
        d.start()
        s = d.http()
        assert d.vault("GET", "secret/data/app/prod").json()["data"]["data"] == {"password": "one", "user": "bob"}
        assert (d.mount / "app" / "prod" / "password").read_text() == "one"
        assert s.get(f"/packages/{name}").content == content
        assert (d.mount / "packages" / "kept" / name).read_bytes() == content
        assert s.get("/v2/team/app/manifests/1.0").content == image.manifest
        folder = d.mount / "images" / "team" / "app" / "1.0" / "layers"
        assert make.digest(next(folder.iterdir()).read_bytes()) == make.digest(image.layers[0])


def test_kill_in_the_middle_of_a_push():
    content = os.urandom(40 << 20)
    with running(mount=False) as d:
        s = d.http()
        location = s.post("/v2/team/big/blobs/uploads/").headers["Location"]

        def pieces():
            for i in range(0, len(content), 1 << 20):
                if i == 24 << 20:
                    d.kill9()
                yield content[i:i + (1 << 20)]

        with pytest.raises(Exception):
            s.patch(location, data=pieces()).raise_for_status()
        d.start()
        s = d.http()
        assert s.head(f"/v2/team/big/blobs/{make.digest(content)}").status_code == 404
        assert make.push_blob(s, "team/big", content) == make.digest(content)
        assert make.digest(s.get(f"/v2/team/big/blobs/{make.digest(content)}").content) == make.digest(content)


def test_kill_in_the_middle_of_a_cp():
    name, content = make.wheel("half", "1.0", size=20 << 20)
    with running() as d:
        with pytest.raises(OSError):
            with open(d.mount / "packages" / name, "wb", buffering=0) as f:
                f.write(content[:10 << 20])
                d.kill9()
                f.write(content[10 << 20:])
        d.start()
        assert d.http().get("/simple/half/").status_code == 404
        assert not (d.mount / "packages" / "half").exists()
        (d.mount / "packages" / name).write_bytes(content)
        assert d.http().get(f"/packages/{name}").content == content


def test_killed_writer_publishes_nothing(daemon):
    name, content = make.wheel("torn", "1.0", size=4 << 20)
    target = daemon.mount / "packages" / name
    child = subprocess.Popen(["python3", "-c", "import sys,time\nf=open(sys.argv[1],'wb',0)\nf.write(sys.stdin.buffer.read())\nprint('x',flush=True)\ntime.sleep(60)", str(target)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(content)  # the whole file, so that nothing but the kill speaks against it
    child.stdin.close()
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    wait_for(lambda: not target.exists(), 10, "the staged file to go")
    assert daemon.http().get("/simple/torn/").status_code == 404


@pytest.fixture
def small_disk():
    """A daemon whose data lies on a file system of 192 MiB."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="infrafs-disk-"))
    run("mount", "-t", "tmpfs", "-o", "size=192m", "infrafs-test", base)
    try:
        yield base
    finally:
        run("umount", "-l", base)
        shutil.rmtree(base, ignore_errors=True)


def test_full_disk(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix="": str(small_disk))
    with running() as d:
        s = d.http()
        d.vault("POST", "secret/data/full", json={"data": {"a": "before"}}).raise_for_status()
        filler = small_disk / "filler"
        with open(filler, "wb") as f:
            with pytest.raises(OSError):
                while True:
                    f.write(b"x" * (1 << 20))
                    f.flush()
        time.sleep(1.5)  # free space is looked at once a second, and each request needs some for the audit log
        wait_for(lambda: d.vault("POST", "secret/data/full", json={"data": {"a": "before"}}).status_code == 507, 10, "the full disk to be noticed")
        name, content = make.wheel("full", "1.0", size=1 << 20)
        with pytest.raises(OSError) as e:
            (d.mount / "packages" / name).write_bytes(content)
        assert e.value.errno == 28
        r = s.post("/v2/a/b/blobs/uploads/")
        assert r.status_code in (202, 507)
        assert d.vault("GET", "secret/data/full").json()["data"]["data"] == {"a": "before"}
        assert (d.mount / "full" / "a").read_text() == "before"
        filler.unlink()
        wait_for(lambda: d.vault("POST", "secret/data/full", json={"data": {"a": "after"}}).status_code == 200, 10, "space to be noticed")
        (d.mount / "packages" / name).write_bytes(content)
        assert s.get(f"/packages/{name}").content == content
        d.kill9()
        d.start()
        assert d.vault("GET", "secret/data/full").json()["data"]["data"] == {"a": "after"}


def test_many_clients_while_it_stops():
    """SIGTERM ends what is under way; what was acknowledged is there."""
    with running(mount=False) as d:
        acknowledged, stop = [], threading.Event()

        def writer(n):
            i = 0
            while not stop.is_set():
                try:
                    r = d.vault("POST", f"secret/data/w{n}/k{i}", json={"data": {"v": str(i)}})
                except Exception:
                    return
                if r.status_code == 200:
                    acknowledged.append((f"w{n}/k{i}", str(i)))
                i += 1

        threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        wait_for(lambda: len(acknowledged) > 50, 20, "writes")
        d.stop()
        stop.set()
        for t in threads:
            t.join()
        d.start()
        for path, value in acknowledged[::7] + acknowledged[-8:]:
            assert d.vault("GET", f"secret/data/{path}").json()["data"]["data"]["v"] == value
