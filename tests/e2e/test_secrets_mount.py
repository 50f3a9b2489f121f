"""Secrets as files, through the real mount, and across faces: what one door writes, the other reads."""
import json
import os
import subprocess
import threading

import pytest

from conftest import need, run, running, wait_for


def api(daemon, name):
    return daemon.vault("GET", f"secret/data/{name}").json()["data"]


@pytest.fixture
def folder(daemon, name):
    d = daemon.mount / name / "prod"
    d.mkdir(parents=True)
    return d


def test_write_by_file_read_by_api_and_back(daemon, folder, name):
    (folder / "db_url").write_text("postgres://x\n")
    assert api(daemon, f"{name}/prod")["data"] == {"db_url": "postgres://x\n"}
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"db_url": "y", "longer": "z" * 5000}}).raise_for_status()
    assert (folder / "db_url").read_text() == "y"
    assert (folder / "longer").read_text() == "z" * 5000
    assert (folder / "longer").stat().st_size == 5000
    assert sorted(os.listdir(folder)) == ["db_url", "longer"]
    assert os.getxattr(folder / "db_url", "user.vault.version") == b"2"


@pytest.mark.parametrize("tool", ["echo", "append", "tee", "cp", "mv", "sed", "dd", "touch", "replace", "install", "truncate"])
def test_tools(daemon, folder, name, tool, tmp_path):
    f = folder / "key"
    f.write_text("one\n")
    (tmp_path / "new").write_text("new\n")
    want = "new\n"
    if tool == "echo":
        run("sh", "-c", f"echo new > {f}")
    elif tool == "append":
        run("sh", "-c", f"echo new >> {f}")
        want = "one\nnew\n"
    elif tool == "tee":
        run("sh", "-c", f"echo new | tee {f}")
    elif tool == "cp":
        run("cp", tmp_path / "new", f)
    elif tool == "mv":
        run("mv", tmp_path / "new", f)
    elif tool == "sed":
        run("sed", "-i", "s/one/new/", f)
    elif tool == "dd":
        run("dd", f"if={tmp_path}/new", f"of={f}")
    elif tool == "touch":
        run("touch", f)
        want = "one\n"
    elif tool == "replace":
        (folder / ".key.tmp").write_text("new\n")
        os.replace(folder / ".key.tmp", f)
    elif tool == "install":
        run("install", "-m", "600", tmp_path / "new", f)
    else:
        os.truncate(f, 2)
        want = "on"
    assert f.read_text() == want
    assert api(daemon, f"{name}/prod")["data"] == {"key": want}
    assert sorted(os.listdir(folder)) == ["key"]


def test_one_write_is_one_version(daemon, folder, name):
    f = folder / "key"
    for i in range(3):
        f.write_text(f"value {i}")
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 3
    f.write_text("value 2")
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 3  # unchanged bytes
    (folder / "@env").write_text("a=1\nb='two words'\n")
    assert api(daemon, f"{name}/prod") | {"metadata": None} == {"data": {"a": "1", "b": "two words"}, "metadata": None}
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 4
    assert json.loads((folder / "@json").read_text()) == {"a": "1", "b": "two words"}
    assert (folder / "@versions" / "1" / "key").read_text() == "value 0"
    with pytest.raises(OSError) as e:
        (folder / "@json").write_text("{broken")
    assert e.value.errno == 22
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 4


def test_docker_takes_its_file(daemon, folder, name):
    """docker's --env-file: KEY=value to the end of the line, no quotes, # for comments."""
    values = {"URL": "postgres://u:p'\"@h/db?a=b&c=$d", "TWO": "two words ", "EMPTY": "", "UTF": "grüße"}
    for key, value in values.items():
        (folder / key).write_text(value)
    (folder / "LINES").write_text("one\ntwo")
    lines = (folder / "@docker-env").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines if not line.startswith("#")) == values
    assert any(line.startswith("#") and "LINES" in line for line in lines)
    assert (folder / "@docker-env").stat().st_size == len((folder / "@docker-env").read_bytes())
    with pytest.raises(OSError) as e:
        (folder / "@docker-env").write_text("a=b\n")
    assert e.value.errno == 30
    assert "@docker-env" not in os.listdir(folder)


def test_trees_are_copied_moved_and_removed(daemon, folder, name, tmp_path):
    (folder / "a").write_bytes(os.urandom(5000))
    (folder / "sub").mkdir()
    (folder / "sub" / "b").write_text("b")
    run("cp", "-r", folder, tmp_path / "copy")
    run("diff", "-r", folder, tmp_path / "copy")
    run("cp", "-r", tmp_path / "copy", daemon.mount / name / "again")
    run("diff", "-r", tmp_path / "copy", daemon.mount / name / "again")
    run("mv", daemon.mount / name / "again", daemon.mount / name / "moved")
    run("diff", "-r", tmp_path / "copy", daemon.mount / name / "moved")
    assert daemon.vault("LIST", f"secret/metadata/{name}").json()["data"]["keys"] == ["moved", "moved/", "prod", "prod/"]
    run("rm", "-r", daemon.mount / name / "moved")
    assert os.listdir(daemon.mount / name) == ["prod"]
    run("rm", "-r", daemon.mount / name)
    assert name not in os.listdir(daemon.mount)
    if subprocess.run(["which", "rsync"], capture_output=True).returncode == 0:
        run("rsync", "-r", f"{tmp_path}/copy/", daemon.mount / name)
        run("diff", "-r", tmp_path / "copy", daemon.mount / name)


def test_bytes_that_are_no_text(daemon, folder, name):
    raw = bytes(range(256)) * 10
    (folder / "der").write_bytes(raw)
    assert (folder / "der").read_bytes() == raw
    data = api(daemon, f"{name}/prod")["data"]
    data["more"] = "x"  # as `kv patch -method=rw` does
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": data}).raise_for_status()
    assert (folder / "der").read_bytes() == raw


def test_no_torn_reads(daemon, folder):
    """Whole values only, whatever writers and readers do."""
    f = folder / "key"
    f.write_text("a" * 9000)
    stop = threading.Event()
    bad = []

    def read():
        while not stop.is_set():
            text = f.read_text()
            if len(text) not in (9000, 20) or len(set(text)) != 1:
                bad.append(text[:50])

    threads = [threading.Thread(target=read) for _ in range(3)]
    [t.start() for t in threads]
    for i in range(60):
        f.write_text("ab"[i % 2] * (9000, 20)[i % 2])
    stop.set()
    [t.join() for t in threads]
    assert not bad


def test_many_writers_of_one_secret(daemon, folder, name):
    """Each writes a field of its own, all in one secret: nobody's is lost, nobody is refused."""
    failed = []

    def write(n):
        try:
            for i in range(15):
                (folder / f"k{n}").write_text(f"{n}-{i}")
        except OSError as e:
            failed.append(e)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failed
    assert api(daemon, f"{name}/prod")["data"] == {f"k{n}": f"{n}-14" for n in range(6)}
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 90


def test_names_of_areas(daemon, name):
    for area in ("packages", "images", "metrics"):
        assert daemon.vault("POST", f"secret/data/{area}/{name}", json={"data": {"k": "v"}}).status_code == 200
        assert (daemon.mount / ".infra" / "secrets" / area / name / "k").read_text() == "v"
    with pytest.raises(FileExistsError):
        (daemon.mount / "packages").mkdir()


def test_another_uid_sees_nothing(daemon, folder):
    need("setpriv")
    (folder / "key").write_text("secret")
    r = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", folder / "key", ok=False)
    assert r.returncode != 0 and "secret" not in r.text.replace(str(folder), "")
    r = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", daemon.mount, ok=False)
    assert folder.parent.name not in r.text


def test_sealed_is_said():
    with running() as d:
        (d.mount / "s").mkdir()
        (d.mount / "s" / "k").write_text("v")
        d.vault("PUT", "sys/seal").raise_for_status()
        with pytest.raises(PermissionError):
            (d.mount / "s" / "k").read_text()
        assert "sealed" in (d.mount / ".infra" / "errors").read_text()
        assert "packages" in os.listdir(d.mount)
        d.restart()
        assert (d.mount / "s" / "k").read_text() == "v"


def test_kill_after_close_loses_nothing():
    with running() as d:
        (d.mount / "s").mkdir()
        for i in range(20):
            (d.mount / "s" / f"k{i}").write_text(str(i))
        d.kill9()
        d.start()
        assert {f: (d.mount / "s" / f).read_text() for f in os.listdir(d.mount / "s")} == {f"k{i}": str(i) for i in range(20)}


def test_a_killed_writer_leaves_the_old_value(daemon, folder, name):
    (folder / "key").write_text("whole")
    p = subprocess.Popen(["python3", "-c", f"import sys,time\nf=open({str(folder / 'key')!r},'w')\nf.write('half');f.flush()\nprint('x',flush=True)\ntime.sleep(60)"], stdout=subprocess.PIPE)
    p.stdout.readline()
    p.kill()
    p.wait()
    wait_for(lambda: (folder / "key").read_text() == "whole", 5)
    assert api(daemon, f"{name}/prod")["metadata"]["version"] == 1
