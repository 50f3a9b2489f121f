"""The mount as every program meets it: tools, versions, other users, restarts. Secrets are the files."""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from conftest import need, run, wait_for

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture
def env(daemon, name):
    """The folder of an environment with one secret field `key`, and how to ask the API for it."""
    folder = daemon.mount / name / "prod"
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"key": "old\n"}}).raise_for_status()

    class Env(type(folder)):
        pass

    env = Env(folder)
    env.data = lambda: daemon.vault("GET", f"secret/data/{name}/prod").json()["data"]["data"]
    env.version = lambda: daemon.vault("GET", f"secret/data/{name}/prod").json()["data"]["metadata"]["version"]
    return env


TOOLS = {
    "redirect": ("printf 'new\\n' > key", "new\n"),
    "append": ("printf 'more\\n' >> key", "old\nmore\n"),
    "tee": ("printf 'new\\n' | tee key >/dev/null", "new\n"),
    "tee -a": ("printf 'more\\n' | tee -a key >/dev/null", "old\nmore\n"),
    "cp": ("printf 'new\\n' > $T/x; cp $T/x key", "new\n"),
    "cp -p": ("printf 'new\\n' > $T/x; cp -p $T/x key", "new\n"),
    "install": ("printf 'new\\n' > $T/x; install -m 600 $T/x key", "new\n"),
    "mv": ("printf 'new\\n' > $T/key; mv -f $T/key .", "new\n"),
    "sed -i": ("sed -i s/old/new/ key", "new\n"),
    "dd": ("printf 'new\\n' | dd of=key conv=fsync status=none", "new\n"),
    "rsync": ("printf 'new\\n' > $T/key; rsync -c $T/key .", "new\n"),
    "vim": ("vim -es -u NONE -c '%s/old/new/' -c wq key </dev/null", "new\n"),
    "python os.replace": ("python3 -c \"import os,tempfile; t=tempfile.NamedTemporaryFile('w',dir='.',delete=False); t.write('new\\n'); t.close(); os.replace(t.name,'key')\"", "new\n"),
    "tar -x": ("cd $T; printf 'new\\n' > key; tar cf x.tar key; cd - >/dev/null; tar xf $T/x.tar", "new\n"),
    "git checkout": ("export GIT_DIR=$T/g HOME=$T; git init -q; git config user.email a@b; git config user.name a; printf 'new\\n' > $T/key;"
                     " git --work-tree=$T add key; git --work-tree=$T commit -qm x; git --work-tree=. checkout -q -f HEAD -- key", "new\n"),
    "ed by mktemp": ("t=$(mktemp ./.key.XXXXXX) && printf 'new\\n' > $t && mv -f $t key", "new\n"),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_makes_one_version(env, tmp_path, tool):
    script, want = TOOLS[tool]
    need(tool.split()[0]) if tool.split()[0] in ("rsync", "vim") else None
    run("sh", "-ec", script, cwd=env, env={**os.environ, "T": str(tmp_path)})
    assert env.data() == {"key": want}
    # these remove the old file first: that is a version without it
    assert env.version() == (3 if tool in ("install", "mv", "tar -x", "git checkout") else 2)
    assert (env / "key").read_text() == want
    assert [p.name for p in env.iterdir()] == ["key"]


def test_unchanged_bytes_make_no_version(env):
    run("sh", "-ec", "printf 'old\\n' > key; touch key; cp key key2; rm key2", cwd=env)
    assert env.data() == {"key": "old\n"}
    assert env.version() == 3  # key2 came and went


def test_put_then_cat_is_never_stale(daemon, env, name):
    stop = threading.Event()

    def prod():  # replies are under way while the values change
        while not stop.is_set():
            for path in (env / "key", env, daemon.mount / name):
                try:
                    os.stat(path)
                    os.listdir(daemon.mount / name)
                except OSError:
                    pass

    threads = [threading.Thread(target=prod) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for i in range(400):
            value = str(i) + "v" * (i * 7 % 50)
            daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"key": value}}).raise_for_status()
            if i % 2:
                assert (env / "key").stat().st_size == len(value)
            assert (env / "key").read_text() == value
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_names_come_and_go_at_once(daemon, env, name):
    for i in range(50):
        daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"key": "x", f"k{i}": "y"}}).raise_for_status()
        assert sorted(os.listdir(env)) == sorted(["key", f"k{i}"])
        assert not (env / f"k{i - 1}").exists()
        daemon.vault("POST", f"secret/data/{name}/e{i}", json={"data": {"a": "b"}}).raise_for_status()
        assert f"e{i}" in os.listdir(daemon.mount / name)
        daemon.vault("DELETE", f"secret/metadata/{name}/e{i}").raise_for_status()
        assert f"e{i}" not in os.listdir(daemon.mount / name)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_writer_leaves_nothing(env, number):
    for path in (env / "key", env / "new"):
        script = "import sys, time; f = open(sys.argv[1], 'wb', 0); f.write(b'half'); print('written', flush=True); time.sleep(600)"
        p = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"written\n"
        p.send_signal(number)
        p.wait()
    assert env.data() == {"key": "old\n"}
    assert env.version() == 1
    wait_for(lambda: os.listdir(env) == ["key"], what="the end of the writers")


def test_nobody_sees_no_secret(daemon, env, name):
    need("setpriv")
    daemon.base.chmod(0o711)
    assert run("cat", env / "key").text == "old\n"
    r = run(*NOBODY, "cat", env / "key", ok=False)
    assert r.returncode == 1 and "No such file or directory" in r.text
    assert name not in run(*NOBODY, "ls", daemon.mount, ok=False).text
    r = run(*NOBODY, "sh", "-c", f"echo x > {env}/key", ok=False)
    assert r.returncode != 0
    assert env.data() == {"key": "old\n"}
    with open(env / "key") as f:  # an open descriptor that somebody else inherits
        r = subprocess.run(NOBODY + ["cat"], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert r.stdout == b"" and r.returncode == 1


def test_the_reason_of_a_refusal(daemon, name):
    with pytest.raises(OSError) as e:
        (daemon.mount / "packages" / "no-wheel.whl").write_bytes(b"this is no zip file")
    assert e.value.errno == errno.EINVAL
    why = os.getxattr(daemon.mount / "packages", "user.infrafs.error").decode()
    assert "no-wheel.whl" in why
    assert "no-wheel.whl" in (daemon.mount / ".infra" / "errors").read_text()
    for call in (lambda: os.link(daemon.mount / ".status", daemon.mount / "x"), lambda: os.mkfifo(daemon.mount / "x")):
        with pytest.raises(OSError) as e:
            call()
        assert e.value.errno == errno.EPERM


def test_reserved_names_stay(daemon):
    with pytest.raises(FileExistsError):
        os.mkdir(daemon.mount / "packages")
    for how in (os.rmdir, lambda p: os.rename(p, daemon.mount / "elsewhere")):
        with pytest.raises(OSError):
            how(daemon.mount / "images")
    assert {"packages", "images", "metrics"} <= set(os.listdir(daemon.mount))


def test_rename_inside_and_across(daemon, env, name):
    os.rename(env / "key", env / "moved")
    assert env.data() == {"moved": "old\n"}
    with pytest.raises(OSError) as e:
        os.rename(env / "moved", daemon.mount / "packages" / "moved")
    assert e.value.errno == errno.EXDEV
    os.rename(daemon.mount / name / "prod", daemon.mount / name / "stage")
    assert os.listdir(daemon.mount / name) == ["stage"]
    assert (daemon.mount / name / "stage" / "moved").read_text() == "old\n"
    assert daemon.vault("GET", f"secret/data/{name}/stage").json()["data"]["data"] == {"moved": "old\n"}
    assert daemon.vault("GET", f"secret/data/{name}/prod").status_code == 404


def test_volume_and_inodes(own_daemon):
    d = own_daemon
    d.vault("POST", "secret/data/app/prod", json={"data": {"key": "v"}}).raise_for_status()
    paths = [d.mount, d.mount / "app", d.mount / "app" / "prod" / "key", d.mount / "packages"]
    before = [p.stat().st_ino for p in paths]
    assert len(set(before)) == len(before)
    ours, volume = os.statvfs(d.mount), os.statvfs(d.data)
    assert ours.f_blocks * ours.f_frsize == volume.f_blocks * volume.f_frsize
    d.restart()
    assert [p.stat().st_ino for p in paths] == before


def test_kill_and_start_again(own_daemon):
    d = own_daemon
    d.vault("POST", "secret/data/app/prod", json={"data": {"key": "v"}}).raise_for_status()
    file = open(d.mount / "app" / "prod" / "key")
    d.kill9()
    with pytest.raises(OSError) as e:
        os.statvfs(d.mount)
    assert e.value.errno == errno.ENOTCONN
    d.start()
    assert (d.mount / "app" / "prod" / "key").read_text() == "v"
    with pytest.raises(OSError):
        file.read()
    file.close()


def test_stop_while_somebody_is_in_it(own_daemon):
    d = own_daemon
    p = subprocess.Popen(["sleep", "600"], cwd=d.mount / "packages")
    try:
        d.restart()
        assert p.poll() is None  # nobody waited for it
        assert (d.mount / "packages").is_dir()
    finally:
        p.kill()
        p.wait()


def test_unmounted_from_outside(own_daemon):
    """It is told, the other doors stay open, and a stop leaves alone what is mounted there meanwhile."""
    d = own_daemon
    d.vault("POST", "secret/data/app/prod", json={"data": {"key": "v"}}).raise_for_status()
    with open(d.mount / "app" / "prod" / "key") as file:
        assert subprocess.run(["umount", str(d.mount)], capture_output=True).returncode != 0  # in use
        assert file.read() == "v"
    subprocess.run(["umount", str(d.mount)], check=True)
    wait_for(lambda: "mount.gone" in d.log.read_text(), 20, "the line in the log")
    assert not os.listdir(d.mount)
    assert d.vault("GET", "secret/data/app/prod").status_code == 200
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(d.mount)], check=True)
    try:
        d.process.terminate()
        assert d.process.wait(60) == 0
        assert os.path.ismount(d.mount)
    finally:
        d.process = None
        subprocess.run(["umount", str(d.mount)], check=True)
    d.start()
    assert (d.mount / "app" / "prod" / "key").read_text() == "v"


def test_settings_of_the_mount(daemon):
    line = next(m for m in pathlib.Path("/proc/self/mounts").read_text().splitlines() if m.split()[1] == str(daemon.mount))
    assert line.split()[0] == "infrafs" and line.split()[2] == "fuse.infrafs"
    assert {"nosuid", "nodev", "noexec", "noatime", "allow_other"} <= set(line.split()[3].split(","))
    device = os.stat(daemon.mount).st_dev
    ahead = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    assert wait_for(lambda: ahead.read_text().strip() == "1024", 5, "read-ahead")
