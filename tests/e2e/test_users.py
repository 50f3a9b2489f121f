"""Users of the htpasswd file: any edit, by whatever tool, is in force at the next request."""
import os
import shutil
import subprocess
import threading

import pytest
import requests

from conftest import need, program, run, running, wait_for

TARGET = "/simple/"  # needs a user


def status(daemon, user=None, password=None, path=TARGET):
    auth = (user, password) if user else None
    return requests.get(daemon.url + path, auth=auth, timeout=60, allow_redirects=False).status_code


def hashed(password, cost=5):
    out = run(need("htpasswd"), "-nbB", "-C", str(cost), "u", password).text.strip()
    return out.split(":", 1)[1]


def text_with(daemon, name, password):
    """The user file's text with the user's line replaced or added."""
    lines = [l for l in daemon.htpasswd.read_text().splitlines() if not l.startswith(name + ":")]
    return "\n".join(lines + [f"{name}:{hashed(password)}"]) + "\n"


def by_htpasswd(daemon, name, password):
    run(need("htpasswd"), "-bB", "-C", "5", daemon.htpasswd, name, password)


def by_sed(daemon, name, password):
    new = hashed(password)
    if f"{name}:" in daemon.htpasswd.read_text():
        run("sed", "-i", f"s|^{name}:.*|{name}:{new}|", daemon.htpasswd)
    else:
        run("sed", "-i", f"$ a {name}:{new}", daemon.htpasswd)


def by_mv(daemon, name, password):
    new = daemon.base / "new"
    new.write_text(text_with(daemon, name, password))
    run("mv", new, daemon.htpasswd)


def by_cp(daemon, name, password):
    new = daemon.base / "new"
    new.write_text(text_with(daemon, name, password))
    run("cp", new, daemon.htpasswd)
    new.unlink()


def by_python(daemon, name, password):
    daemon.htpasswd.write_text(text_with(daemon, name, password))


def by_mv_across(daemon, name, password):
    """From another file system mv unlinks, creates and copies."""
    new = f"/dev/shm/infrafs-{os.getpid()}-{name}"
    with open(new, "w") as f:
        f.write(text_with(daemon, name, password))
    run("mv", new, daemon.htpasswd)


def by_command(daemon, name, password):
    exists = f"{name}:" in daemon.htpasswd.read_text()
    run(program(), "user", "passwd" if exists else "add", "--password-stdin", "--htpasswd", daemon.htpasswd, name,
        input=password.encode())


def by_tree(daemon, name, password):
    by_htpasswd_path(daemon.mount / ".htpasswd", name, password)


def by_tree_sed(daemon, name, password):
    path = daemon.mount / ".htpasswd"
    new = hashed(password)
    if f"{name}:" not in path.read_text():
        with open(path, "a") as f:
            f.write(f"{name}:{new}\n")
    else:
        run("sed", "-i", f"s|^{name}:.*|{name}:{new}|", path)


def by_htpasswd_path(path, name, password):
    run(need("htpasswd"), "-bB", "-C", "5", path, name, password)


WAYS = [by_htpasswd, by_sed, by_mv, by_cp, by_python, by_mv_across, by_command, by_tree, by_tree_sed]


@pytest.mark.parametrize("edit", WAYS, ids=lambda f: f.__name__[3:])
def test_edit_is_in_force_at_the_next_request(daemon, name, edit):
    edit(daemon, name, "first")
    assert status(daemon, name, "first") == 200
    assert status(daemon, name, "first") == 200  # from memory
    for i in range(3):
        edit(daemon, name, f"second{i}")
        assert status(daemon, name, f"second{i}") == 200
        assert status(daemon, name, "first" if i == 0 else f"second{i - 1}") == 401
    assert status(daemon, daemon.user, daemon.password) == 200  # the others stay


def test_remove(daemon, name):
    by_command(daemon, name, "x")
    assert status(daemon, name, "x") == 200
    run(program(), "user", "remove", "--htpasswd", daemon.htpasswd, name)
    assert status(daemon, name, "x") == 401


def test_file_bound_into_a_container(tmp_path):
    """The file is a mount point, as in a container: it is replaced behind it, and by the daemon in place."""
    shared = tmp_path / "shared"
    shared.mkdir()
    source, other = shared / "one", shared / "two"
    source.write_text(f"carol:{hashed('one')}\n")
    other.write_text(f"carol:{hashed('two')}\n")
    with running() as d:
        run("mount", "--bind", source, d.htpasswd)
        try:
            assert status(d, "carol", "one") == 200
            assert status(d, d.user, d.password) == 401
            run("htpasswd", "-bB", "-C", "5", source, "carol", "changed")  # from outside
            assert status(d, "carol", "changed") == 200
            assert status(d, "carol", "one") == 401
            run("mount", "--bind", other, d.htpasswd)  # another file behind the mount point
            try:
                wait_for(lambda: status(d, "carol", "two") == 200, what="the other file")
                assert status(d, "carol", "changed") == 401
                by_tree(d, "dave", "through the tree")
                assert status(d, "dave", "through the tree") == 200
                assert "dave:" in other.read_text()
            finally:
                run("umount", d.htpasswd)
            wait_for(lambda: status(d, "carol", "changed") == 200, what="the file itself again")
            run(program(), "user", "add", "--password-stdin", "--htpasswd", d.htpasswd, "erin", input=b"in place")
            assert status(d, "erin", "in place") == 200
            assert "erin:" in source.read_text()
        finally:
            run("umount", d.htpasswd)


def cpu(daemon):
    """Seconds of processor time the daemon has used: other work on the machine does not count."""
    fields = open(f"/proc/{daemon.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_wrong_passwords_and_unknown_users(own_daemon):
    daemon = own_daemon
    start = cpu(daemon)
    assert [status(daemon, daemon.user, f"wrong{i}") for i in range(10)] == [401] * 10
    wrong = cpu(daemon) - start
    start = cpu(daemon)
    assert [status(daemon, f"nobody{i}", "wrong") for i in range(10)] == [401] * 10
    unknown = cpu(daemon) - start
    assert wrong > 0.1 and 0.3 < unknown / wrong < 3  # an unknown user costs the same
    assert status(daemon, daemon.user, daemon.password) == 200
    start = cpu(daemon)
    assert [status(daemon, daemon.user, daemon.password) for _ in range(10)] == [200] * 10
    assert cpu(daemon) - start < wrong / 2  # a known one is remembered
    challenge = requests.get(daemon.url + TARGET, timeout=60)
    assert challenge.status_code == 401 and challenge.headers["WWW-Authenticate"].startswith("Basic ")


def test_first_requests_at_once(daemon, name):
    run(need("htpasswd"), "-bB", "-C", "11", daemon.htpasswd, name, "together")
    start = cpu(daemon)
    assert status(daemon, name, "wrong") == 401
    one = cpu(daemon) - start
    results = []
    threads = [threading.Thread(target=lambda: results.append(status(daemon, name, "together"))) for _ in range(64)]
    start = cpu(daemon)
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [200] * 64
    assert cpu(daemon) - start < 16 * one + 1  # hashed once, not 64 times


def test_old_hashes_are_replaced(daemon, name):
    run(need("htpasswd"), "-bm", daemon.htpasswd, name, "old")
    assert f"{name}:$apr1$" in daemon.htpasswd.read_text()
    assert status(daemon, name, "wrong") == 401
    assert f"{name}:$apr1$" in daemon.htpasswd.read_text()
    assert status(daemon, name, "old") == 200
    assert f"{name}:$2y$11$" in daemon.htpasswd.read_text()
    assert status(daemon, name, "old") == 200


def test_broken_line_on_the_host(daemon, name):
    before = daemon.htpasswd.read_text()
    daemon.htpasswd.write_text(before + "my secret password without a colon\n" + f"{name}:{hashed('x')}\n")
    try:
        assert status(daemon, daemon.user, daemon.password) == 200
        assert status(daemon, name, "x") == 200
        assert "my secret password" not in daemon.log.read_text()
        number = len(before.splitlines()) + 1
        assert f"line={number} why=a line is 'name:hash'" in daemon.log.read_text()
    finally:
        daemon.htpasswd.write_text(before)


def test_broken_line_through_the_tree(daemon):
    path = daemon.mount / ".htpasswd"
    before = path.read_text()
    r = subprocess.run(["cp", "/dev/stdin", str(path)], input=b"broken\n", capture_output=True)
    assert r.returncode != 0 and b"Invalid argument" in r.stderr
    assert path.read_text() == before == daemon.htpasswd.read_text()
    assert "line 1: a line is 'name:hash'" in (daemon.mount / ".infra/errors").read_text()
    assert status(daemon, daemon.user, daemon.password) == 200


def test_user_file_is_for_root(daemon):
    s = daemon.http()
    assert s.get("/tree/.htpasswd").status_code == 404
    assert s.put("/tree/.htpasswd", data=b"").status_code in (403, 404)
    assert s.get("/tree/.infra/audit.log").status_code == 404
    assert s.get("/tree/.infra/policies/team.hcl").status_code == 404
    root = {"Authorization": f"Bearer {daemon.root_token}"}
    assert requests.get(daemon.url + "/tree/.htpasswd", headers=root, timeout=60).text == daemon.htpasswd.read_text()
    if shutil.which("setpriv"):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        r = subprocess.run(nobody + ["cat", str(daemon.mount / ".htpasswd")], capture_output=True)
        assert r.returncode != 0


def test_callers_of_the_mount(tmp_path):
    """uid and groups are mapped as configured; who is nobody sees nothing."""
    setpriv = need("setpriv")
    config = "identities: [{uid: 4321, user: alice}, {group: 4400, policies: [reader]}]\n"
    with running(config=config) as d:
        os.chmod(d.base, 0o755)
        (d.mount / ".infra/policies/reader.hcl").write_text('path "secret/data/shop/*" { capabilities = ["read", "list"] }\n'
                                                            'path "secret/metadata/shop/*" { capabilities = ["read", "list"] }\n')
        (d.mount / "shop/prod").mkdir(parents=True)
        (d.mount / "shop/prod/pw").write_text("hunter2")

        def as_caller(uid, gid, script):
            return subprocess.run([setpriv, "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "sh", "-c", script],
                                  capture_output=True, cwd="/")

        read, write = f"cat {d.mount}/shop/prod/pw", f"printf changed > {d.mount}/shop/prod/pw"
        assert as_caller(4321, 1, read).stdout == b"hunter2"
        assert as_caller(4321, 1, write).returncode == 0
        assert as_caller(5000, 4400, read).stdout == b"changed"
        assert as_caller(5000, 4400, write).returncode != 0
        assert as_caller(5000, 1, read).returncode != 0
        assert as_caller(5000, 1, write).returncode != 0
        policy = d.mount / ".infra/policies/reader.hcl"
        text = policy.read_text()
        policy.write_text("# nothing\n")  # in force at once, for the mount too
        assert as_caller(5000, 4400, read).returncode != 0
        policy.write_text(text)
        assert as_caller(5000, 4400, read).returncode == 0
        policy.write_text("")
        wait_for(lambda: as_caller(5000, 4400, read).returncode != 0, what="the empty policy")
        assert policy.read_text() == ""
        run(program(), "user", "remove", "--htpasswd", d.htpasswd, "alice")
        assert as_caller(4321, 1, read).returncode != 0
        assert '"who":"alice","uid":4321' in (d.mount / ".infra/audit.log").read_text()


def test_no_users_yet(tmp_path):
    with running() as d:
        d.htpasswd.unlink()

        def told():
            answer = requests.get(d.url + TARGET, timeout=60)
            return answer.status_code == 401 and "infrafs user add NAME" in answer.text

        wait_for(told, what="the missing file to be noticed")
        d.add_user("first", "password")
        assert status(d, "first", "password") == 200


def test_policy_in_force_at_once(daemon):
    policy = daemon.mount / ".infra/policies/anonymous.hcl"
    before = policy.read_text()
    assert status(daemon) == 401
    policy.write_text('path "packages/*" { capabilities = ["read", "list"] }\n')
    try:
        assert status(daemon) == 200
        assert status(daemon, path="/metrics") == 401
        r = subprocess.run(["cp", "/dev/stdin", str(policy)], input=b'path "a" { capabilities = ["raed"] }', capture_output=True)
        assert r.returncode != 0
        assert "did you mean 'read'?" in (daemon.mount / ".infra/errors").read_text()
        assert status(daemon) == 200
    finally:
        policy.write_text(before)
    assert status(daemon) == 401
    assert status(daemon, path="/metrics") == 200


def test_root_token_file(tmp_path):
    with running(mount=False) as d:
        first = d.root_token
        headers = {"Authorization": f"Bearer {first}"}
        assert (d.data / "root-token").stat().st_mode & 0o777 == 0o600
        assert requests.get(d.url + TARGET, headers=headers, timeout=60).status_code == 200
        assert status(d, "__token__", first) == 200
        assert status(d, "__token__", first + "x") == 401
        d.restart()
        assert d.root_token == first
        d.stop()
        (d.data / "root-token").unlink()
        d.start()
        assert d.root_token != first
        assert requests.get(d.url + TARGET, headers=headers, timeout=60).status_code == 401
