"""Keys that people or machines bring: OpenBao's CLI as an operator uses it; systemd's socket; what is left in memory."""
import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading

import hvac
import pytest
import requests

from conftest import free_port, need, program, run, running, wait_for
from test_hvac import count_in_memory


def cli(daemon, token=""):
    program = need("bao")
    home = daemon.base
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_"))}
    environment.update({"BAO_ADDR": daemon.url, "HOME": home, "BAO_FORMAT": "json", "BAO_MAX_RETRIES": "0"})
    if token:
        environment["BAO_TOKEN"] = token

    def call(*arguments, ok=True):
        r = run(program, *arguments, ok=ok, env=environment)
        r.json = json.loads(r.text) if r.text.strip().startswith(("{", "[")) else None
        return r

    return call


def test_operator_with_shares():
    with running(config="unseal: shamir\n") as d:
        bao = cli(d)
        assert d.vault("GET", "sys/health").status_code == 501
        made = bao("operator", "init", "-key-shares=3", "-key-threshold=2").json
        shares, root = made["unseal_keys_hex"], made["root_token"]
        assert len(shares) == 3 and made["unseal_threshold"] == 2
        assert bao("operator", "init", ok=False).returncode == 2
        status = bao("status", ok=False)
        assert status.returncode == 2 and '"sealed": true' in status.text
        with pytest.raises(PermissionError):
            (d.mount / "app").mkdir()
        assert bao("operator", "unseal", shares[0]).json["progress"] == 1
        assert bao("operator", "unseal", "-reset").json["progress"] == 0
        bao("operator", "unseal", made["unseal_keys_b64"][2])
        assert bao("operator", "unseal", shares[0]).json["sealed"] is False
        bao = cli(d, root)
        assert bao("token", "lookup").json["data"]["expire_time"] is None
        bao("kv", "put", "secret/app", "k=v")

        # another set of shares, shown once more before it counts
        begun = bao("operator", "rotate-keys", "-init", "-key-shares=5", "-key-threshold=3", "-verify").json
        bao("operator", "rotate-keys", f"-nonce={begun['nonce']}", shares[1])
        new = bao("operator", "rotate-keys", f"-nonce={begun['nonce']}", shares[2]).json
        new = new.get("data", new)
        for share in new["keys"][:3]:
            bao("operator", "rotate-keys", "-verify", f"-nonce={new['verification_nonce']}", share)
        begun = bao("operator", "rekey", "-init", "-key-shares=2", "-key-threshold=2").json
        assert bao("operator", "rekey", "-status").json["required"] == 3
        for share in new["keys"][1:4]:
            last = bao("operator", "rekey", f"-nonce={begun['nonce']}", share).json
        bao("operator", "rotate")
        bao("operator", "seal")
        d.restart()
        bao = cli(d)
        assert bao("operator", "unseal", new["keys"][0]).json["sealed"]
        assert bao("operator", "unseal", new["keys"][1], ok=False).returncode != 0  # of a set that was exchanged
        for share in last["keys"]:
            bao("operator", "unseal", share)
        assert d.vault("GET", "secret/data/app", root).json()["data"]["data"] == {"k": "v"}

        # a root token for who holds the shares
        bao = cli(d, root)
        begun = bao("operator", "generate-root", "-init").json
        bao("operator", "generate-root", f"-nonce={begun['nonce']}", last["keys"][0])
        done = bao("operator", "generate-root", f"-nonce={begun['nonce']}", last["keys"][1]).json
        token = bao("operator", "generate-root", f"-decode={done['encoded_token']}", f"-otp={begun['otp']}").text
        token = re.search(r"s\.\w{24}", token).group(0)
        assert d.vault("GET", "secret/data/app", token).status_code == 200


def test_hvac_with_shares():
    with running(mount=False, config="unseal: shamir\n") as d:
        client = hvac.Client(url=d.url)
        assert not client.sys.is_initialized()
        made = client.sys.initialize(3, 2)
        client.token = made["root_token"]
        assert client.sys.is_sealed()
        client.sys.submit_unseal_keys(made["keys"][:2])
        assert not client.sys.is_sealed()
        nonce = client.sys.start_rekey(secret_shares=1, secret_threshold=1)["nonce"]
        keys = client.sys.rekey_multi(made["keys"][1:], nonce=nonce)["keys"]
        client.sys.rotate_encryption_key()
        client.sys.seal()
        assert client.sys.submit_unseal_key(keys[0])["sealed"] is False
        assert client.sys.list_enabled_audit_devices()["data"]["file/"]["type"] == "file"
        with pytest.raises(hvac.exceptions.InvalidRequest) as e:
            client.sys.enable_audit_device("file", path="x", options={"file_path": "/tmp/x"})
        assert "cannot enable audit device via API; use declarative, config-based audit device management instead" in str(e.value)
        assert client.sys.calculate_hash("file", "hunter2")["data"]["hash"].startswith("hmac-sha256:")


def test_keyfile_is_exchanged_wherever_it_is_killed():
    with running(mount=False) as d:
        file = d.data / "unseal.key"
        old = file.read_text()
        d.vault("POST", "secret/data/x", json={"data": {"k": "v"}}).raise_for_status()
        nonce = d.vault("PUT", "sys/rekey/init", json={"secret_shares": 1, "secret_threshold": 1}).json()["nonce"]
        r = d.vault("PUT", "sys/rekey/update", json={"key": old.strip(), "nonce": nonce}).json()
        new = file.read_text()
        assert r["complete"] and r["keys"][0] in new and new != old
        d.kill9()
        (d.data / "unseal.key.new").write_text(new)  # as killed between the store's write and the rename
        file.write_text(old)
        d.start()
        assert d.vault("GET", "secret/data/x").status_code == 200
        assert file.read_text() == new and not (d.data / "unseal.key.new").exists()
        d.kill9()
        (d.data / "unseal.key.new").write_text(old)  # as killed before the store's write
        d.start()
        assert d.vault("GET", "secret/data/x").status_code == 200


def test_doors_while_sealed():
    """Every verb of every door says the same of what is sealed, whether it exists or not."""
    with running() as d:
        (d.mount / "app").mkdir()
        (d.mount / "app" / "k").write_text("v")
        d.vault("PUT", "sys/seal").raise_for_status()
        answers = set()
        for path in ("secret/data/app", "secret/data/none", "secret/metadata/app", "cubbyhole/x", "sys/mounts", "sys/policies/acl", "no/such/mount"):
            for method in ("GET", "LIST", "PUT", "POST", "DELETE", "PATCH"):
                r = d.vault(method, path, json={"data": {}})
                if r.status_code != 405:
                    answers.add((r.status_code, r.text))
        assert answers == {(503, '{"errors":["Vault is sealed"]}\n')}
        for call in (lambda: os.stat(d.mount / "app"), lambda: open(d.mount / "app" / "k"), lambda: open(d.mount / "none" / "k"),
                     lambda: os.mkdir(d.mount / "new"), lambda: os.rename(d.mount / "app", d.mount / "b"), lambda: os.listdir(d.mount / "app")):
            with pytest.raises(PermissionError):
                call()
        assert "sealed" in (d.mount / ".infra" / "errors").read_text()
        assert "app" not in os.listdir(d.mount)


def test_nothing_is_left_in_memory(released):
    """No plaintext, no token and no share once it is sealed; and none in the log, the audit log or the store."""
    with running(config="unseal: shamir\n") as d:
        made = requests.put(f"{d.url}/v1/sys/init", json={"secret_shares": 2, "secret_threshold": 2}).json()
        try:
            open(f"/proc/{d.process.pid}/mem", "rb").close()
        except PermissionError:
            pytest.skip("the memory of another process cannot be read here")
        if re.search("/[at]san/", os.path.realpath(f"/proc/{d.process.pid}/exe")):
            pytest.skip("a sanitizer keeps copies of its own")
        for share in made["keys"]:
            requests.put(f"{d.url}/v1/sys/unseal", json={"key": share}).raise_for_status()
        word, root = "memory-" + "witness", made["root_token"]
        child = d.vault("POST", "auth/token/create", root, json={"policies": ["root"]}).json()["auth"]["client_token"]
        (d.mount / "f").mkdir()
        (d.mount / "f" / "k").write_text(word)
        for _ in range(3):
            d.vault("GET", "secret/data/f", child).raise_for_status()
            d.vault("GET", "secret/data/f", root).raise_for_status()
            (d.mount / "f" / "@env").read_text()
            (d.mount / "f" / "@yaml").read_text()
        d.vault("PUT", "sys/find", root, json={"word": word, "values": True}).raise_for_status()
        watcher = subprocess.Popen(["cat", d.mount / "f" / "@watch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        d.vault("PUT", "sys/seal", root).raise_for_status()
        watcher.kill()
        watcher.wait()
        shares = [s for key in made["keys"] for s in (key.encode(), bytes.fromhex(key)[:32])]
        for secret in (word.encode(), root.encode(), child.encode(), *shares):
            assert count_in_memory(d.process.pid, secret) == 0, secret
        d.stop()
        for file in [*d.data.rglob("*"), d.log]:
            if file.is_file():
                content = file.read_bytes()
                for secret in (word.encode(), root.encode(), child.encode(), *shares):
                    assert secret not in content, f"{secret} in {file}"


def test_units_get_credentials():
    def ask(path, unit, credential):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f"\0{os.urandom(8).hex()}/unit/{unit}/{credential}")
            s.connect(str(path))
            s.settimeout(120)
            return b"".join(iter(lambda: s.recv(1 << 16), b""))

    base = tempfile.mkdtemp(prefix="infrafs-units-")
    path = f"{base}/sub/credentials.sock"
    config = f"credentials:\n  socket: {path}\n  serve:\n    - {{unit: 'shop@*.service', credential: '*', secret: 'shop/{{credential}}'}}\n"
    with running(config=config) as d:
        assert os.stat(path).st_mode & 0o777 == 0o600
        (d.mount / "shop").mkdir()
        (d.mount / "shop" / "db").write_bytes(b"s3cret\x00\xff")
        assert ask(path, "shop@1.service", "db") == b"s3cret\x00\xff"
        assert len(ask(path, "other.service", "db")) > 1 << 20  # more than systemd takes: the unit does not start
        assert len(ask(path, "shop@1.service", "none")) > 1 << 20
        lines = [json.loads(line) for line in (d.data / "audit.log").read_text().splitlines()]
        assert [(line["who"], line["result"]) for line in lines if line["what"] == "credential"] == [
            ("unit:shop@1.service", 0), ("unit:other.service", -13), ("unit:shop@1.service", -2)]
        key = (d.data / "unseal.key").read_text().strip()
        d.vault("PUT", "sys/seal").raise_for_status()
        got = []
        thread = threading.Thread(target=lambda: got.append(ask(path, "shop@1.service", "db")))
        thread.start()
        requests.put(f"{d.url}/v1/sys/unseal", json={"key": key}).raise_for_status()  # it was waiting for this
        thread.join(120)
        assert got == [b"s3cret\x00\xff"]
    assert not os.path.exists(path)


def test_watch_blocks_polls_and_is_interrupted():
    with running() as d:
        folder = d.mount / "app"
        folder.mkdir()
        (folder / "k").write_text("1")
        reader = subprocess.Popen(["bash", "-c", 'read -r version state time < "$1"; echo "$version $state"', "-", folder / "@watch"],
                                  stdout=subprocess.PIPE, text=True)
        fd = os.open(folder / "@watch", os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            os.read(fd, 100)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(0) == []
        audit = d.data / "audit.log"
        wait_for(lambda: audit.read_text().count("app/@watch") >= 2, what="both to have opened it")
        d.vault("POST", "secret/data/app", json={"data": {"k": "2"}}).raise_for_status()
        assert poll.poll(60000) == [(fd, select.POLLIN)]
        assert os.read(fd, 100).startswith(b"2 live 20")
        assert poll.poll(0) == []
        assert reader.communicate(timeout=60)[0] == "2 live\n"
        waiting = subprocess.Popen(["cat", folder / "@watch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: audit.read_text().count("app/@watch") >= 3, what="cat to have opened it")
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == -signal.SIGTERM
        assert requests.get(f"{d.url}/tree/app/@watch", headers={"X-Vault-Token": d.root_token}).status_code == 405
        waiting = subprocess.Popen(["cat", folder / "@watch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: audit.read_text().count("app/@watch") >= 5, what="cat to have opened it")
        d.stop()  # does not wait for who waits
        assert waiting.wait(60) != 0
        os.close(fd)


def test_audit_lines_have_hmacs_of_values(daemon, name):
    """Whoever read or wrote a value is found by it, through whichever door, and the value is not."""
    value = f"value-of-{name}"
    digest = daemon.vault("PUT", "sys/audit-hash/file", json={"input": value}).json()["data"]["hash"]
    (daemon.mount / name).mkdir()
    (daemon.mount / name / "k").write_text(value)
    (daemon.mount / name / "k").read_text()
    (daemon.mount / name / "@json").read_text()
    daemon.vault("GET", f"secret/data/{name}")
    daemon.vault("POST", f"secret/data/{name}", json={"data": {"k": value, "other": 1}})
    daemon.vault("PATCH", f"secret/data/{name}", data=json.dumps({"data": {"n": 2}}), headers={"Content-Type": "application/merge-patch+json"})
    text = (daemon.data / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines() if digest in line]
    assert [(line["door"], line["what"]) for line in lines] == [
        ("mount", "write"), ("mount", "read"), ("mount", "read"), ("http", "GET"), ("http", "POST"), ("http", "PATCH")]
    assert [len(line["values"]) for line in lines] == [1, 1, 1, 1, 2, 3]
    assert value not in text
    assert daemon.vault("PUT", "sys/audit-hash/none", json={"input": "x"}).json()["errors"] == ['unknown audit backend "none/"']


def test_audit_log_is_moved_away_and_opened_again():
    with running(mount=False) as d:
        log = d.data / "audit.log"
        d.vault("GET", "secret/data/first")
        log.rename(d.data / "audit.old")
        d.process.send_signal(signal.SIGHUP)
        wait_for(log.exists, what="the new log")
        d.vault("GET", "secret/data/second")
        assert "second" in log.read_text() and "second" not in (d.data / "audit.old").read_text()


def test_full_audit_disk(tmp_path):
    """Secrets are not handed out without a line; it recovers by itself."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path)
    try:
        with running(config=f"audit: {{file: {tmp_path}/audit.log}}\n") as d:
            (d.mount / "app").mkdir()
            (d.mount / "app" / "k").write_text("v")
            filler = tmp_path / "filler"
            with pytest.raises(OSError), open(filler, "wb", 0) as f:
                while True:
                    f.write(b"x" * 512)
            codes = {d.vault("GET", "secret/data/app").status_code for _ in range(20)}  # the last page may have room
            assert codes <= {200, 500} and 500 in codes
            r = d.vault("GET", "secret/data/app")
            assert r.status_code == 500 and r.json() == {"errors": ["the audit log cannot be written"]}
            with pytest.raises(OSError) as e:
                for _ in range(20):
                    (d.mount / "app" / "k").read_text()
            assert e.value.errno == 5
            filler.unlink()
            assert d.vault("GET", "secret/data/app").status_code == 200
            assert (d.mount / "app" / "k").read_text() == "v"
            assert all(json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines())
    finally:
        run("umount", "-l", tmp_path)


def test_find(daemon, name):
    folder = daemon.mount / name
    (folder / "prod").mkdir(parents=True)
    (folder / "prod" / "Db-Password").write_text("very-unlikely-word")
    (folder / "prod" / "other").write_text("x")

    def find(word, token=None, **more):
        r = daemon.vault("PUT", "sys/find", token, json={"word": word, **more})
        assert r.status_code == 200, r.text
        return [(m["path"], m["where"]) for m in r.json()["data"]["matches"] if m["path"].startswith(name)]

    assert find("db-pass") == [(f"{name}/prod/Db-Password", "name")]
    assert find("unlikely-word") == []
    assert find("UNLIKELY-word", values=True) == [(f"{name}/prod/Db-Password", "value")]
    assert find("prod")[0] == (f"{name}/prod", "name")
    daemon.vault("PUT", f"sys/policies/acl/{name}", json={"policy": f'path "secret/metadata/{name}/*" {{ capabilities = ["list"] }}'}).raise_for_status()
    token = daemon.vault("POST", "auth/token/create", json={"policies": [name]}).json()["auth"]["client_token"]
    assert find("unlikely-word", token, values=True) == []  # may list, not read
    assert daemon.vault("PUT", "sys/find", "bad", json={"word": "x"}).status_code == 403
    assert daemon.vault("PUT", "sys/find", json={"word": ""}).status_code == 400
    assert "unlikely" not in (daemon.data / "audit.log").read_text()


def test_passphrase_at_the_command_line():
    with running(config="unseal: passphrase\n") as d:
        def unseal(text):
            return run(program(), "unseal", "--key-stdin", "--address", d.url, "--data", d.data, input=text.encode(), ok=False)

        assert "8 to 1024 bytes" in unseal("short").text
        assert unseal("correct horse").text.endswith("unsealed\n")
        (d.mount / "app").mkdir()
        (d.mount / "app" / "k").write_text("v")
        d.restart()
        with pytest.raises(PermissionError):
            (d.mount / "app" / "k").read_text()
        assert "invalid key" in unseal("wrong horse").text
        wait_for(lambda: unseal("correct horse").returncode == 0, what="the second after a wrong one")
        assert (d.mount / "app" / "k").read_text() == "v"


def test_edit_and_find_at_the_command_line(daemon, name, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nstat -c %a:%n \"$1\" > " + str(tmp_path / "seen") + "\nsed -i \"s/$FROM/$TO/\" \"$1\"\n")
    editor.chmod(0o755)

    def command(*words, change="", ok=True):
        environment = {**os.environ, "EDITOR": str(editor), "FROM": change.partition(">")[0] or "nothing-such", "TO": change.partition(">")[2]}
        return run(program(), *words, "--address", daemon.url, "--data", daemon.data, env=environment, ok=ok, stdin=subprocess.DEVNULL)

    folder = daemon.mount / name
    folder.mkdir()
    (folder / "key").write_text("old")
    command("edit", f"{name}/key", change="old>new")
    assert (folder / "key").read_text() == "new"
    mode, _, path = (tmp_path / "seen").read_text().strip().partition(":")
    assert mode == "600" and path.startswith("/dev/shm/") and not os.path.exists(path)
    assert command("edit", name, change="new>newer").text == ""
    assert (folder / "key").read_text() == "newer"
    assert command("edit", f"{name}/key").text == "unchanged\n"
    refused = command("edit", f"{name}/@yaml", change="^>[", ok=False)
    assert refused.returncode == 65 and "line" in refused.text
    assert (folder / "key").read_text() == "newer"
    assert daemon.vault("GET", f"secret/metadata/{name}").json()["data"]["current_version"] == 3
    assert command("find", name).text == f"{name}\n"
    assert command("find", "--values", "newer").text == f"{name}/key\t(value)\n"
    assert command("find", "no-such-word-anywhere", ok=False).returncode == 1


def test_backup_and_restore(tmp_path):
    def command(*words, ok=True):
        return run(program(), *words, ok=ok)

    with running(mount=False) as d:
        d.vault("POST", "secret/data/app", json={"data": {"k": "v"}}).raise_for_status()
        token = d.vault("POST", "auth/token/create", json={"policies": ["root"]}).json()["auth"]["client_token"]
        blob = os.urandom(5 << 20)
        s = d.http()
        location = s.post("/v2/a/b/blobs/uploads/").headers["Location"]
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        assert s.put(location + ("&" if "?" in location else "?") + f"digest={digest}", data=blob).status_code == 201
        file = tmp_path / "backup.tar"
        command("backup", file, "--address", d.url, "--data", d.data)
        d.vault("POST", "secret/data/app", json={"data": {"k": "later"}}).raise_for_status()
        assert not list((d.data / "backups").iterdir()) and file.stat().st_mode & 0o777 == 0o600
        key = (d.data / "unseal.key").read_bytes()
        assert key.split()[1] not in file.read_bytes() and d.root_token.encode() not in file.read_bytes()
        assert requests.put(f"{d.url}/tree/.infra/backup", data="x").status_code == 401
        assert s.put("/tree/.infra/backup", data="x").status_code in (403, 404)  # the team may not

        assert "not empty" in command("restore", file, "--data", d.data, ok=False).text
        cut = tmp_path / "cut.tar"
        cut.write_bytes(file.read_bytes()[:-4000])
        for bad in (cut, d.data / "salt"):
            assert command("restore", bad, "--data", tmp_path / "none", ok=False).returncode != 0
            assert not (tmp_path / "none").exists() and not (tmp_path / "none.restored").exists()

        with running(mount=False) as other:
            other.stop()
            for leftover in sorted(other.data.rglob("*"), reverse=True):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()
            command("restore", file, "--data", other.data)
            (other.data / "unseal.key").write_bytes(key)
            (other.data / "unseal.key").chmod(0o600)
            other.start()
            assert other.vault("GET", "secret/data/app", token).json()["data"]["data"] == {"k": "v"}
            assert other.http().get(f"/v2/a/b/blobs/{digest}").content == blob


def test_import_from_openbao_and_back(tmp_path):
    port, home = free_port(), tmp_path
    environment = {**os.environ, "HOME": str(home), "BAO_DEV_ROOT_TOKEN_ID": "source-root"}
    with open(tmp_path / "bao.log", "wb") as log:
        bao = subprocess.Popen([need("bao"), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"],
                               stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        url, headers = f"http://127.0.0.1:{port}", {"X-Vault-Token": "source-root"}
        wait_for(lambda: requests.get(f"{url}/v1/secret/config", headers=headers).status_code == 200, 60, "OpenBao")

        def source(method, path, **k):
            r = requests.request(method, f"{url}/v1/{path}", headers=headers, **k)
            r.raise_for_status()
            return r.json()["data"] if r.text else None

        for n in (1, 2, 3):
            source("POST", "secret/data/team/app", json={"data": {"n": n, "zeta": "z", "alpha": "ä"}})
        source("PUT", "secret/destroy/team/app", json={"versions": [2]})
        source("POST", "secret/metadata/team/app", json={"max_versions": 5, "custom_metadata": {"owner": "me"}, "cas_required": True, "delete_version_after": "720h"})
        source("POST", "secret/data/team", json={"data": {"also": "a folder"}})
        source("POST", "sys/mounts/old", json={"type": "kv", "options": {"version": "1"}})
        source("POST", "old/x", json={"k": "v1"})
        with running(mount=False) as d:
            def load(ok=True, token="source-root"):
                return run(program(), "import", "vault", url, "--address", d.url, "--data", d.data, ok=ok, env={**os.environ, "SOURCE_TOKEN": token})

            assert load(ok=False, token="wrong").returncode != 0
            assert load().text == "3 secrets with 4 versions; 0 were there\n"
            assert load().text == "0 secrets with 0 versions; 3 were there\n"
            got = d.vault("GET", "secret/data/team/app").json()["data"]
            assert got["data"] == {"n": 3, "zeta": "z", "alpha": "ä"} and got["metadata"]["version"] == 3
            assert d.vault("GET", "secret/data/team/app?version=1").json()["data"]["data"]["n"] == 1
            assert d.vault("GET", "secret/data/team/app?version=2").json()["data"]["metadata"]["destroyed"]
            meta = d.vault("GET", "secret/metadata/team/app").json()["data"]
            assert (meta["max_versions"], meta["cas_required"], meta["custom_metadata"]) == (5, True, {"owner": "me"})
            assert meta["delete_version_after"] == "720h0m0s"
            assert d.vault("GET", "old/x").json()["data"] == {"k": "v1"}
            assert d.vault("GET", "secret/data/team").json()["data"]["data"] == {"also": "a folder"}

            for path in ("secret/metadata/team/app", "secret/metadata/team", "sys/mounts/old"):
                source("DELETE", path)
            back = run(program(), "export", "vault", url, "--address", d.url, "--data", d.data, env={**os.environ, "TARGET_TOKEN": "source-root"})
            assert back.text == "3 secrets with 4 versions; 0 were there\n"
            assert source("GET", "secret/data/team/app")["data"] == {"n": 3, "zeta": "z", "alpha": "ä"}
            assert source("GET", "secret/data/team/app?version=1")["data"]["n"] == 1
            meta = source("GET", "secret/metadata/team/app")
            assert meta["versions"]["2"]["destroyed"] and meta["custom_metadata"] == {"owner": "me"} and meta["cas_required"]
            assert source("GET", "old/x") == {"k": "v1"}
    finally:
        os.killpg(bao.pid, signal.SIGKILL)
        bao.wait()


def test_import_users(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run(program(), "user", "add", "--password-stdin", "--htpasswd", new, "alice", input=b"new")
    for name in ("alice", "bob"):
        run(program(), "user", "add", "--password-stdin", "--htpasswd", old, name, input=b"old")
    with open(old, "a") as f:
        f.write("no user\n")
    before = new.read_text()
    r = run(program(), "import", "htpasswd", old, "--htpasswd", new)
    assert "1 added, 1 were there" in r.text and "line 3" in r.text
    assert new.read_text() == before + old.read_text().splitlines()[1] + "\n"


def test_a_refusal_is_the_same_whatever_is_there(daemon, name):
    """Who has no right does not learn what exists: not by status, text or errno, through either door."""
    daemon.vault("POST", f"secret/data/{name}/there", json={"data": {"k": "v"}}).raise_for_status()
    token = daemon.vault("POST", "auth/token/create", json={"policies": ["default"]}).json()["auth"]["client_token"]
    answers = {}
    for leaf in ("there", "there/k", "none", "none/deeper"):
        for noun in ("data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata"):
            for method in ("GET", "LIST", "PUT", "POST", "DELETE", "PATCH"):
                headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
                r = daemon.vault(method, f"secret/{noun}/{name}/{leaf}", token, data='{"data":{},"versions":[1]}', headers=headers)
                answers.setdefault((noun, method), set()).add((r.status_code, r.text.replace(leaf, "")))
    for (noun, method), seen in answers.items():
        assert len(seen) == 1 and min(seen)[0] in (403, 404, 405), (noun, method, seen)
    assert {min(answers["data", method])[0] for method in ("GET", "PUT", "POST", "DELETE", "PATCH")} == {403}
    assert answers and daemon.vault("GET", f"no/such/{name}", token).status_code == 403
    assert daemon.vault("GET", f"secret/data/{name}/there", "s.unknown").json() == {"errors": ["permission denied"]}

    script = f"""
import os
os.setgid(65534); os.setuid(65534)
def errno(f):
    try: f()
    except OSError as e: return e.errno
    return 0
for leaf in ("there", "none"):
    p = {str(daemon.mount / name)!r} + "/" + leaf
    print([errno(f) for f in (lambda: os.stat(p), lambda: open(p), lambda: open(p, "w"), lambda: os.listdir(p), lambda: os.rmdir(p),
           lambda: os.unlink(p), lambda: os.rename(p, p + "x"), lambda: open(p + "/k"), lambda: open(p + "/@watch"), lambda: open(p + "/@meta"))])
"""
    lines = run("python3", "-c", script).text.splitlines()
    assert lines[0] == lines[1] and 0 not in json.loads(lines[0]), lines


def test_many_wrong_passwords(daemon, name):
    """They cost a hash each, in workers, while others are served; none is remembered, and the right one works."""
    daemon.vault("POST", f"auth/userpass/users/{name}", json={"password": "right one"}).raise_for_status()
    stop = threading.Event()
    codes = set()

    def guess(n):
        session = requests.Session()
        while not stop.is_set():
            codes.add(session.post(f"{daemon.url}/v1/auth/userpass/login/{name if n % 2 else 'nobody-' + name}", json={"password": f"wrong {n}"}, timeout=60).status_code)

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    try:
        for _ in range(50):
            assert daemon.vault("GET", "sys/health").status_code == 200
            assert daemon.vault("GET", "secret/config").status_code == 200
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert codes <= {400, 503} and 400 in codes
    for _ in range(2):
        assert requests.post(f"{daemon.url}/v1/auth/userpass/login/{name}", json={"password": "right one"}).status_code == 200
    assert "wrong 1" not in (daemon.data / "audit.log").read_text() + daemon.log.read_text()


@pytest.mark.parametrize("tool", [
    'sed -i s/old/new/ "$1"/key', 'cp new "$1"/key', 'rsync -I new "$1"/key', 'dd if=new of="$1"/key conv=fsync status=none',
    'tar -C . -cf - new | tar -C "$1" --transform s/new/key/ -xf -', 'cat new > "$1"/key', 'mv new "$1"/key', 'install -m 600 new "$1"/key',
    'ex -sc "%s/old/new/|x" "$1"/key', 'printf "key=new\\n" > "$1"/@env', 'mkdir ns && unshare -m sh -c "mount --bind \\"$1\\" ns && cp new ns/key"',
    'touch file && unshare -m sh -c "mount --bind \\"$1\\"/key file && cat new > file"', 'git init -q g && cp new g/key && git -C g add key && git --git-dir=g/.git --work-tree="$1" checkout -f key',
])
def test_tools_on_a_secret(daemon, name, tmp_path, tool):
    for word in tool.replace('"', " ").split():
        if word in ("rsync", "ex", "git", "unshare"):
            need(word)
    folder = daemon.mount / name
    folder.mkdir()
    (folder / "key").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    run("bash", "-ec", tool, "-", folder, cwd=tmp_path)
    assert daemon.vault("GET", f"secret/data/{name}").json()["data"]["data"]["key"].rstrip("\n") == "new"
    assert daemon.vault("GET", f"secret/metadata/{name}").json()["data"]["current_version"] <= 3  # some remove it first
    assert [f for f in os.listdir(folder)] == ["key"]


def test_tokens_and_policies_at_the_command_line(daemon, name):
    def command(*words, ok=True, **k):
        return run(program(), *words, "--address", daemon.url, "--data", daemon.data, ok=ok, **k).text

    text = f'path "secret/data/{name}" {{ capabilities = ["read"] }}\n'
    command("policy", "write", name, input=text.encode())
    assert command("policy", "read", name) == text
    assert name in command("policy", "list").split()
    token = command("token", "create", "--policy", name, "--ttl", "1h", "--name", "ci").strip()
    seen = json.loads(command("token", "lookup", "-", input=token.encode()))
    assert name in seen["policies"] and seen["display_name"] == "token-ci" and "id" not in seen
    assert seen["accessor"] in command("token", "list").split()
    command("token", "revoke", "--accessor", seen["accessor"])
    assert "bad token" in command("token", "lookup", token, ok=False)
    command("policy", "delete", name)
    assert "expected" in command("policy", "write", name, input=b"path {", ok=False)
