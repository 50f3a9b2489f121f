"""The command line: stable names, exit codes of sysexits.h, messages that say what to do."""
import os
import pty
import re
import socket
import subprocess
import time

import pytest
import requests

from conftest import need, program, run, running

USAGE, DATAERR, NOINPUT, NOUSER, UNAVAILABLE, NOPERM, CONFIG = 64, 65, 66, 67, 69, 77, 78


def cli(*arguments, input=None, environment=None, cwd=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("INFRAFS_", "VAULT_", "BAO_"))}
    env.update(environment or {})
    r = subprocess.run([program(), *map(str, arguments)], input=input, env=env, cwd=cwd, timeout=120,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    r.out, r.err = r.stdout.decode(), r.stderr.decode()
    assert "Sanitizer" not in r.err, r.err
    return r


def client(daemon, *arguments, **k):
    return cli(*arguments, "--data", daemon.data, "--address", daemon.url, **k)


@pytest.mark.parametrize("arguments, code, text", [
    ([], USAGE, "usage: infrafs COMMAND"),
    (["srve"], USAGE, "no command 'srve'; did you mean 'serve'?"),
    (["user"], USAGE, "'user' needs a word more: add, passwd, remove, list"),
    (["user", "ad", "x"], USAGE, "no command 'user ad'; did you mean 'user add'?"),
    (["zebra"], USAGE, "no command 'zebra'; 'infrafs help' lists them"),
    (["serve", "--lisen", "x"], USAGE, "unknown option '--lisen'; did you mean '--listen'?"),
    (["serve", "--listen"], USAGE, "option '--listen' needs a value"),
    (["serve", "-x"], USAGE, "unknown option '-x'; see 'infrafs help serve'"),
    (["serve", "extra"], USAGE, "'extra' is one operand too many"),
    (["get"], USAGE, "usage: infrafs get PATH"),
    (["serve", "--listen", "nowhere", "--data", "/nonexistent"], CONFIG, "--listen: 'nowhere' is not an address and port"),
    (["serve", "--config", "/nonexistent.yml"], NOINPUT, "/nonexistent.yml: No such file or directory"),
    (["help", "nothing"], USAGE, "no command 'nothing'"),
], ids=lambda v: "-".join(v) if isinstance(v, list) else None)
def test_mistakes(arguments, code, text):
    r = cli(*arguments)
    assert text in r.err
    if code != NOINPUT:
        assert r.returncode == code
    assert r.out == ""


def test_help_and_version():
    r = cli("--version")
    assert r.returncode == 0 and r.out.startswith("infrafs ")
    for arguments in (["--help"], ["help"], ["-h"]):
        r = cli(*arguments)
        assert r.returncode == 0 and "user add NAME" in r.out and r.err == ""
    for command in ("serve", "user add", "user passwd", "user remove", "user list", "status", "get", "set", "config check",
                    "config dump", "gc"):
        r = cli(*command.split(), "--help")
        assert r.returncode == 0 and r.out.startswith(f"usage: infrafs {command}")
        assert r.out == cli("help", *command.split()).out
    assert "usage: infrafs user add" in cli("help", "user").out
    r = cli("help", "serve")
    assert all(line == line.rstrip() for line in r.out.splitlines())
    assert max(map(len, r.out.splitlines())) <= 82


def test_manual_and_completion(tmp_path):
    page = tmp_path / "infrafs.8"
    page.write_bytes(cli("help", "--man").stdout)
    r = subprocess.run([need("man"), "--warnings", "-l", str(page)], capture_output=True,
                       env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    text = r.stdout.decode()
    assert r.returncode == 0 and r.stderr == b"", r.stderr
    assert "infrafs user add NAME" in text and "--password-stdin" in text and "EXIT STATUS" in text
    script = tmp_path / "completion"
    script.write_bytes(cli("help", "--completion").stdout)

    def complete(*words):
        line = f"source {script}; COMP_WORDS=(infrafs {' '.join(repr(w) for w in words)}); COMP_CWORD={len(words)}; _infrafs; echo ${{COMPREPLY[@]}}"
        return run("bash", "-c", line).text.split()

    assert complete("us") == ["user"]
    assert "serve" in complete("") and complete("").count("user") == 1
    assert complete("user", "") == ["add", "passwd", "remove", "list"]
    assert complete("user", "add", "--pass") == ["--password-stdin"]
    assert complete("serve", "--no") == ["--no-mount"]
    assert complete("gc", "--dry") == ["--dry-run"]


def test_users(tmp_path):
    file = tmp_path / "htpasswd"
    at = ["--htpasswd", file]
    r = cli("user", "list", *at)
    assert r.returncode == NOINPUT and "infrafs user add NAME" in r.err
    assert cli("user", "add", "--password-stdin", *at, "alice", input=b"pa ss\n").returncode == 0
    assert file.read_text().startswith("alice:$2y$11$")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(need("htpasswd"), "-vb", file, "alice", "pa ss", ok=False).returncode == 0
    r = cli("user", "add", "--password-stdin", *at, "alice", input=b"x")
    assert r.returncode == DATAERR and "user 'alice' exists; 'infrafs user passwd alice'" in r.err
    assert cli("user", "passwd", "--password-stdin", *at, "alice", input=b"new").returncode == 0
    assert run(need("htpasswd"), "-vb", file, "alice", "new", ok=False).returncode == 0
    assert cli("user", "passwd", "--password-stdin", *at, "bob", input=b"new").returncode == NOUSER
    assert cli("user", "add", "--password-stdin", *at, "bob", input=b"x").returncode == 0
    assert cli("user", "list", *at).out == "alice\nbob\n"
    assert cli("user", "remove", *at, "alice").returncode == 0
    assert cli("user", "remove", *at, "alice").returncode == NOUSER
    assert cli("user", "list", *at).out == "bob\n"
    for name, password in (("a:b", b"x"), ("", b"x"), ("a", b""), ("a", b"x" * 73), ("a", b"x\0y"), ("__token__", b"x")):
        assert cli("user", "add", "--password-stdin", *at, name, input=password).returncode == DATAERR
    assert cli("user", "list", *at).out == "bob\n"


def test_edits_at_once_are_all_kept(tmp_path):
    file = tmp_path / "htpasswd"
    names = [f"u{i}" for i in range(8)]
    running_ = [subprocess.Popen([program(), "user", "add", "--password-stdin", "--htpasswd", str(file), n],
                                 stdin=subprocess.PIPE) for n in names]
    for p in running_:
        p.communicate(b"x")
        assert p.returncode == 0
    assert sorted(cli("user", "list", "--htpasswd", file).out.split()) == names


def answer_prompts(answers, *arguments):
    """Runs the command with a terminal; returns its code and what the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(program(), [program(), *map(str, arguments)])
    shown = b""
    for answer in answers:
        while not shown.rstrip(b" ").endswith(b":"):
            shown += os.read(terminal, 1000)
        os.write(terminal, answer + b"\n")
        shown += b"\n"
    try:
        while chunk := os.read(terminal, 1000):
            shown += chunk
    except OSError:
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_password_at_the_terminal(tmp_path):
    file = tmp_path / "htpasswd"
    code, shown = answer_prompts([b"hidden", b"hidden"], "user", "add", "--htpasswd", file, "alice")
    assert code == 0 and "hidden" not in shown
    assert run(need("htpasswd"), "-vb", file, "alice", "hidden", ok=False).returncode == 0
    code, shown = answer_prompts([b"one", b"two"], "user", "passwd", "--htpasswd", file, "alice")
    assert code == DATAERR and "the two passwords differ" in shown
    assert run(need("htpasswd"), "-vb", file, "alice", "hidden", ok=False).returncode == 0


def test_config(tmp_path):
    file = tmp_path / "infrafs.yml"
    file.write_text("data: /srv/x\nmetrics: {retention: 3d}\n")
    r = cli("config", "check", file)
    assert r.returncode == 0 and r.out == f"{file}: valid\n"
    r = cli("config", "dump", "--config", file, environment={"INFRAFS_AUDIT_KEEP": "4"})
    assert "store: \"rocks:/srv/x/store\"" in r.out and "retention: 3d" in r.out and "keep: 4" in r.out
    again = tmp_path / "again.yml"
    again.write_text(r.out)
    assert cli("config", "dump", "--config", again).out == r.out
    file.write_text("data: /srv/x\nmetrics: {retenton: 3d}\n")
    r = cli("config", "check", file)
    assert r.returncode == CONFIG
    assert f"{file}: line 2, column 11: unknown key 'retenton'; did you mean 'retention'?" in r.err
    r = cli("config", "check", environment={"INFRAFS_METRICS_RETENTON": "3d", "INFRAFS_OTHER_THING": "x", "INFRAFS_ADDR": "x",
                                                 "INFRAFS_TOKEN": "x", "INFRAFS_BIN": "x"})
    assert r.returncode == 0 and "unknown=INFRAFS_METRICS_RETENTON meant=INFRAFS_METRICS_RETENTION" in r.err
    assert len(r.err.splitlines()) == 1
    r = cli("config", "check", environment={"INFRAFS_LISTEN": "8080"})
    assert r.returncode == CONFIG and "INFRAFS_LISTEN: '8080' is not an address and port" in r.err


def doctor(*arguments, **k):
    """The exit code, and what was found: {what: [(finding, text)]}."""
    r = cli("doctor", *arguments, **k)
    found = {}
    for line in r.out.splitlines():
        finding, what, text = re.fullmatch(r"(ok|note|wrong) +(\w+): (.*)", line).groups()
        found.setdefault(what, []).append((finding, text))
    return r.returncode, found


def test_doctor(tmp_path):
    data, users = tmp_path / "data", tmp_path / "users"
    arguments = ["--data", data, "--mount", tmp_path / "mnt", "--htpasswd", users, "--listen", "127.0.0.1:0"]
    code, found = doctor(*arguments)
    assert code == 0 and not any(f == "wrong" for lines in found.values() for f, _ in lines), found
    assert found["data"] == [("ok", f"'{data}' will be made at the first start")]
    assert found["daemon"][0][0] == found["users"][0][0] == "note"
    assert list(tmp_path.iterdir()) == []
    data.mkdir(mode=0o755)
    (tmp_path / "mnt").write_text("")
    (data / "store").mkdir()
    users.write_text("alice\nbob:x\n")
    users.chmod(0o666)
    (data / "audit.log").write_text("")
    os.utime(data / "audit.log", (time.time() + 9000, ) * 2)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = "127.0.0.1:%d" % s.getsockname()[1]
        code, found = doctor(*arguments[:-1], address)
    assert code == UNAVAILABLE
    for what, text in (("data", f"chmod 700 '{data}'"), ("mount", "is no folder"), ("listen", f"{address} is another program's"),
                       ("users", "chmod go-w"), ("key", "put the copy back"), ("clock", "behind what was written last")):
        assert found[what][-1][0] == "wrong" and text in found[what][-1][1], (what, found[what])
    assert found["users"][0][0] == "note" and "line 1" in found["users"][0][1]
    (tmp_path / "infrafs.yml").write_text("dta: /x\n")
    r = cli("doctor", "--config", tmp_path / "infrafs.yml")
    assert r.returncode == CONFIG and "unknown key 'dta'" in r.err


def test_doctor_beside_a_daemon(own_daemon):
    d = own_daemon
    arguments = ["--data", d.data, "--mount", d.mount, "--htpasswd", d.htpasswd, "--listen", d.host]
    code, found = doctor(*arguments)
    assert code == 0 and found["daemon"] == [("ok", f"runs as process {d.process.pid}")]
    assert found["mount"] == [("ok", f"'{d.mount}' is mounted")] and found["listen"] == [("ok", f"{d.host} is in use")]
    d.kill9()
    code, found = doctor(*arguments)
    assert code == 0 and found["daemon"][0][0] == "note" and "a killed daemon left" in found["mount"][0][1]
    d.start()


def test_get_set_status(daemon):
    value = b"p\xc3\xa4ss\nwith a newline and no end"
    assert client(daemon, "set", "shop/prod/pw", input=value).returncode == 0
    r = client(daemon, "get", "shop/prod/pw")
    assert r.returncode == 0 and r.stdout == value
    assert (daemon.mount / "shop/prod/pw").read_bytes() == value
    assert client(daemon, "set", "shop/prod/pw", "--value", "short").returncode == 0
    assert client(daemon, "get", f"{daemon.mount}/shop/prod/pw", environment={"INFRAFS_MOUNT": str(daemon.mount)}).out == "short"
    r = client(daemon, "get", "shop/prod/nothing")
    assert r.returncode == NOINPUT and r.err.startswith("infrafs: ") and "(404)" in r.err
    r = client(daemon, "get", "shop/prod/pw", environment={"INFRAFS_TOKEN": "s.wrong"})
    assert r.returncode == NOPERM and "(401)" in r.err
    r = client(daemon, "get", "shop/prod/pw", environment={"VAULT_TOKEN": daemon.root_token, "VAULT_ADDR": "http://nowhere"})
    assert r.out == "short"
    r = cli("get", "shop/prod/pw", environment={"VAULT_TOKEN": daemon.root_token, "VAULT_ADDR": daemon.url + "/"})
    assert r.out == "short"
    r = client(daemon, "status")
    assert r.returncode == 0 and r.out.startswith("infrafs ") and ": ok, up 0d" in r.out
    r = cli("status", "--address", "http://127.0.0.1:1")
    assert r.returncode == UNAVAILABLE and "is 'infrafs serve' running?" in r.err


def test_gc(tmp_path):
    with running(config="images: {gc_grace: 0}\n", mount=False) as d:
        s = d.http()
        r = s.post("/v2/app/blobs/uploads/?digest=sha256:"
                   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", data=b"abc")
        assert r.status_code == 201
        digest = "/v2/app/blobs/sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert s.delete(digest).status_code == 202
        r = client(d, "gc", "--dry-run")
        assert r.returncode == 0 and "would free 1 blobs of 3 bytes" in r.out
        r = client(d, "gc")
        assert r.returncode == 0 and "freed 1 blobs of 3 bytes" in r.out
        assert "freed 0 blobs" in client(d, "gc").out
        assert "infrafs_reaped_blobs_total 1\n" in requests.get(d.url + "/metrics", timeout=60).text


def test_own_metrics(daemon):
    text = requests.get(daemon.url + "/metrics", timeout=60)
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    r = subprocess.run([need("promtool"), "check", "metrics"], input=text.content, capture_output=True)
    assert r.returncode == 0, (r.stdout + r.stderr).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "infrafs_build_info", "infrafs_disk_free_bytes"):
        assert f"\n{name}" in text.text
    assert requests.get(daemon.url + "/health", timeout=60).text == "ok\n"
    assert (daemon.mount / ".infra/health").read_text() == "ok\n"
    assert "process_open_fds" in (daemon.mount / ".infra/metrics").read_text()


def test_own_folder(daemon):
    infra = daemon.mount / ".infra"
    assert ".infra" not in os.listdir(daemon.mount) and ".htpasswd" not in os.listdir(daemon.mount)
    assert {"status", "health", "ready", "version", "config", "metrics", "errors", "audit.log", "policies", "gc"} <= set(os.listdir(infra))
    assert (infra / "config").read_text().startswith(f'data: "{daemon.data}"')
    assert (infra / "version").read_text() == cli("--version").out
    assert (daemon.mount / ".status").read_text().startswith("infrafs ")
    (daemon.mount / ".htpasswd").read_text()
    assert '"path":".htpasswd"' in (infra / "audit.log").read_text()
    (infra / "policies/empty.hcl").touch()
    assert (infra / "policies/empty.hcl").read_text() == ""
    (infra / "policies/empty.hcl").unlink()
    with pytest.raises(OSError):
        (infra / "version").write_text("x")
    with pytest.raises(PermissionError):
        (daemon.mount / ".htpasswd").unlink()
    with pytest.raises(OSError):
        os.mkdir(infra / "new")


def test_reload_and_stop(own_daemon):
    own_daemon.process.send_signal(1)  # SIGHUP: goes on
    assert requests.get(own_daemon.url + "/health", timeout=60).status_code == 200
    own_daemon.stop()  # exit code 0, checked there
    assert not os.path.ismount(own_daemon.mount)


def test_tells_systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(120)
        with running(mount=False, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as d:
            assert s.recv(100) == b"READY=1"
            d.stop()
            assert s.recv(100) == b"STOPPING=1"


def test_port_in_use(daemon):
    with pytest.raises(AssertionError, match="in use"):
        with running(mount=False, arguments=["--listen", daemon.host]):
            pass
