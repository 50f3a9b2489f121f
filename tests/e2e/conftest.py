"""Fixtures: one real daemon a test module, on a free loopback port, with a real mount.

INFRAFS_BIN names the program (default: the newest of build/{asan,debug,release}/infrafs). A missing tool
skips with its name; with INFRAFS_NO_SKIP=1 it fails, so that CI never passes by leaving things out.
"""
import contextlib
import http.server
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

SANITIZER = re.compile(r"(ERROR|WARNING): \w+Sanitizer|runtime error:|Sanitizer: .*leak")
USER, PASSWORD = "alice", "correct horse battery"
START_SECONDS = 120
FAULTS = []  # of daemons that a signal ended or a sanitizer spoke of: no second try of a test excuses them

# Our targets, receivers and upstreams: with the backlog of 5 that Python takes, of many connections at once some wait a
# second for their SYN to be sent again.
http.server.HTTPServer.request_queue_size = 1024


def program():
    if os.environ.get("INFRAFS_BIN"):
        return os.environ["INFRAFS_BIN"]
    built = [p for n in ("asan", "debug", "release") if (p := ROOT / "build" / n / "infrafs").exists()]
    if not built:
        pytest.exit("no infrafs was built; run contrib/test", 2)
    return str(max(built, key=lambda p: p.stat().st_mtime))


def need(*tools):
    """Paths of the tools; skips (or fails, in CI) where one is missing."""
    found = []
    for tool in tools:
        beside = pathlib.Path(sys.executable).parent / tool
        path = str(beside) if beside.exists() else shutil.which(tool, path=os.environ["PATH"] + ":" + os.path.expanduser("~/go/bin") + ":/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("INFRAFS_NO_SKIP"):
                pytest.fail(f"{tool} is not installed")
            pytest.skip(f"{tool} is not installed")
        found.append(path)
    return found[0] if len(found) == 1 else found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, seconds=20, what="it"):
    """Polls until check() is true and returns its value; an exception counts as not yet. `seconds` are those of an idle
    machine: a busy one gets three times as many."""
    end = time.monotonic() + 3 * seconds
    last = None
    while time.monotonic() < end:
        try:
            value = check()
            if value:
                return value
        except Exception as e:  # the thing waited for may not exist yet
            last = e
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}; last: {last!r}")


def run(*command, ok=True, **options):
    """Runs a command to its end; with ok, a failure shows its output."""
    options.setdefault("timeout", 240)
    r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    text = r.stdout.decode(errors="replace")
    if ok and r.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {r.returncode}\n{text}")
    r.text = text
    return r


class Daemon:
    """A running infrafs: url, mount, data, user and password (of the team), root_token."""

    def __init__(self, base, mount=True, config=None, arguments=(), environment=None):
        self.base = pathlib.Path(base)
        self.data = self.base / "data"
        self.mount = self.base / "mnt" if mount else None
        self.htpasswd = self.base / "htpasswd"
        self.prometheus = self.base / "prometheus.yml"
        self.log = self.base / "log"
        self.user, self.password = USER, PASSWORD
        self.auth = (USER, PASSWORD)
        self.port = 0
        self.process = None
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.config = config
        if self.mount:
            self.mount.mkdir()
        if config is not None:
            (self.base / "infrafs.yml").write_text(config)
        self.add_user(USER, PASSWORD)

    def add_user(self, name, password):
        run(program(), "user", "add", "--password-stdin", "--htpasswd", self.htpasswd, name, input=password.encode())

    def command(self):
        c = [program(), "serve", "--data", str(self.data), "--htpasswd", str(self.htpasswd),
             "--prometheus", str(self.prometheus), "--listen", f"127.0.0.1:{self.port}"]
        c += ["--mount", str(self.mount)] if self.mount else ["--no-mount"]
        if self.config is not None:
            c += ["--config", str(self.base / "infrafs.yml")]
        return c + self.arguments

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("INFRAFS_", "VAULT_", "BAO_"))}
        environment.update({
            "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:abort_on_error=0:handle_abort=1",
            "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "TSAN_OPTIONS": f"suppressions={ROOT}/tests/tsan.supp:halt_on_error=0:exitcode=66",
        })
        environment.update(self.environment)
        log = open(self.log, "ab")
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, env=environment, cwd=self.base)
        log.close()
        self.ready = self.read_ready()
        addresses = re.search(r"listen=(\S+)", self.ready).group(1).split(",")
        self.addresses = addresses
        self.port = int(addresses[0].rsplit(":", 1)[1])
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.root_token = (self.data / "root-token").read_text().strip()
        return self

    def read_ready(self):
        """The line `ready …`; what follows on standard output is drained."""
        line = []
        got = threading.Event()

        def drain():
            for text in self.process.stdout:
                if not line and text.startswith(b"ready "):
                    line.append(text.decode())
                    got.set()
            got.set()

        threading.Thread(target=drain, daemon=True).start()
        got.wait(START_SECONDS)
        if not line:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not become ready\n{self.tail()}")
        return line[0]

    def tail(self, n=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-n:]) if self.log.exists() else ""

    def stop(self):
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait(60)
            raise AssertionError(f"the daemon did not stop within 120 s\n{self.tail()}")
        finally:
            self.unmount()
        text = self.log.read_text(errors="replace")
        found = SANITIZER.search(text)
        told = text[found.start():][:6000] if found else f"exit code {code}\n{self.tail()}"
        if found or code < 0:
            FAULTS.append(told)
        assert not found and code == 0, told

    def kill9(self):
        """Ends it as a power cut would; the stale mount stays for the next start to clear."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def unmount(self):
        if self.mount and os.path.ismount(self.mount):
            subprocess.run(["umount", "-l", str(self.mount)], check=False)

    def close(self):
        try:
            self.stop()
        finally:
            if self.process is not None:
                self.kill9()
            with contextlib.suppress(OSError):
                self.unmount()
            if self.mount and not os.access(self.mount, os.R_OK):
                subprocess.run(["umount", "-l", str(self.mount)], check=False, stderr=subprocess.DEVNULL)

    def http(self, auth=True):
        """A requests session as the team user; paths are relative to the daemon."""
        session = requests.Session()
        session.trust_env = False
        if auth:
            session.auth = self.auth
        base = self

        class Relative(requests.Session):
            def request(self, method, url, **k):
                k.setdefault("timeout", 60)
                return super().request(method, base.url + url if url.startswith("/") else url, **k)

        relative = Relative()
        relative.trust_env = False
        relative.auth = session.auth
        return relative

    def vault(self, method, path, token=None, **k):
        """A request of the Vault dialect with a token (default: root)."""
        headers = k.pop("headers", {})
        headers["X-Vault-Token"] = token or self.root_token
        return requests.request(method, f"{self.url}/v1/{path}", headers=headers, timeout=60, **k)


@contextlib.contextmanager
def running(mount=True, **options):
    """A daemon of one's own, for tests that kill, configure or fill it."""
    base = tempfile.mkdtemp(prefix="infrafs-test-")
    daemon = Daemon(base, mount=mount, **options)
    try:
        daemon.start()
        yield daemon
        daemon.close()
    except BaseException:
        print(f"--- log of the daemon in {base}\n{daemon.tail(200)}", file=sys.stderr)
        with contextlib.suppress(BaseException):
            daemon.close()
        raise
    finally:
        if daemon.mount is None or not os.path.ismount(daemon.mount):
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon():
    with running() as d:
        yield d


@pytest.fixture
def own_daemon():
    with running() as d:
        yield d


@pytest.fixture
def released(monkeypatch):
    """For what a sanitizer would hide: daemons of this test are of the release build, where there is one."""
    release = ROOT / "build" / "release" / "infrafs"
    if release.exists():
        monkeypatch.setenv("INFRAFS_BIN", str(release))


@pytest.fixture
def name():
    """A name that no other test uses."""
    return "t" + secrets.token_hex(4)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "daemon" in getattr(item, "funcargs", {}):
        report.sections.append(("log of the daemon", item.funcargs["daemon"].tail()))


def pytest_runtest_logreport(report):
    """The first try of a test that is tried again, whole: what fails by chance is a fault to be found all the same."""
    if report.outcome == "rerun":
        parts = [f"\n--- {report.nodeid} failed at its first try", report.longreprtext, *(text for _, text in report.sections)]
        print("\n".join(parts), file=sys.__stderr__, flush=True)


def pytest_sessionfinish(session):
    if FAULTS:
        print("\n--- a daemon ended as none may:", *FAULTS, sep="\n", file=sys.__stderr__, flush=True)
        session.exitstatus = 1
