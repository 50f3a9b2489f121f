"""hvac: the Python client of Vault, over KV v2, policies, tokens, mounts and health."""
import os
import re
import threading

import pytest

from conftest import running, wait_for

hvac = pytest.importorskip("hvac")


@pytest.fixture
def client(daemon):
    c = hvac.Client(url=daemon.url, token=daemon.root_token)
    assert c.is_authenticated()
    return c


def test_versions(client, name):
    kv = client.secrets.kv.v2
    made = kv.create_or_update_secret(path=f"{name}/db", secret={"user": "a", "n": 5})
    assert made["data"]["version"] == 1
    kv.create_or_update_secret(path=f"{name}/db", secret={"user": "b"}, cas=1)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="check-and-set parameter did not match"):
        kv.create_or_update_secret(path=f"{name}/db", secret={"user": "c"}, cas=1)
    read = kv.read_secret_version(path=f"{name}/db", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"user": "b"}
    assert read["data"]["metadata"]["version"] == 2
    assert kv.read_secret_version(path=f"{name}/db", version=1, raise_on_deleted_version=True)["data"]["data"] == {"user": "a", "n": 5}
    assert kv.list_secrets(path=name)["data"]["keys"] == ["db"]
    kv.patch(path=f"{name}/db", secret={"more": "x"})
    assert kv.read_secret_version(path=f"{name}/db", raise_on_deleted_version=True)["data"]["data"] == {"user": "b", "more": "x"}


def test_delete_undelete_destroy(client, name):
    kv = client.secrets.kv.v2
    for i in range(3):
        kv.create_or_update_secret(path=name, secret={"i": i})
    kv.delete_latest_version_of_secret(path=name)
    deleted = kv.read_secret_version(path=name, raise_on_deleted_version=False)
    assert deleted["data"]["data"] is None and deleted["data"]["metadata"]["deletion_time"]
    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.read_secret_version(path=name, raise_on_deleted_version=True)
    kv.undelete_secret_versions(path=name, versions=[3])
    assert kv.read_secret_version(path=name, raise_on_deleted_version=True)["data"]["data"] == {"i": 2}
    kv.delete_secret_versions(path=name, versions=[1, 2])
    kv.destroy_secret_versions(path=name, versions=[1])
    meta = kv.read_secret_metadata(path=name)["data"]
    assert meta["versions"]["1"]["destroyed"] and meta["versions"]["2"]["deletion_time"] and meta["current_version"] == 3
    kv.update_metadata(path=name, max_versions=4, cas_required=True, delete_version_after="1h", custom_metadata={"owner": "me"})
    meta = kv.read_secret_metadata(path=name)["data"]
    assert (meta["max_versions"], meta["cas_required"], meta["delete_version_after"], meta["custom_metadata"]) == (4, True, "1h0m0s", {"owner": "me"})
    kv.delete_metadata_and_all_versions(path=name)
    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.read_secret_metadata(path=name)


def test_system(client, name):
    assert client.sys.read_health_status(method="GET")["initialized"]
    assert client.sys.read_health_status().status_code == 200  # HEAD
    assert not client.sys.is_sealed()
    assert client.sys.is_initialized()
    client.sys.enable_secrets_engine("kv", path=name, options={"version": "2"})
    assert f"{name}/" in client.sys.list_mounted_secrets_engines()["data"]
    client.secrets.kv.v2.create_or_update_secret(path="a", secret={"k": "v"}, mount_point=name)
    client.sys.disable_secrets_engine(name)
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.secrets.kv.v2.read_secret_version(path="a", mount_point=name, raise_on_deleted_version=True)
    client.sys.enable_secrets_engine("kv", path=name, options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret(path="a", secret={"k": "v"}, mount_point=name)
    assert client.secrets.kv.v1.read_secret(path="a", mount_point=name)["data"] == {"k": "v"}
    assert client.secrets.kv.v1.list_secrets(path="", mount_point=name)["data"]["keys"] == ["a"]


def test_policies_and_tokens(client, daemon, name):
    client.sys.create_or_update_policy(name, f'path "secret/data/{name}/*" {{ capabilities = ["read"] }}')
    assert name in client.sys.list_policies()["data"]["policies"]
    assert set(client.sys.read_policy(name)["data"]) >= {"name", "rules"}
    client.secrets.kv.v2.create_or_update_secret(path=f"{name}/x", secret={"k": "v"})
    made = client.auth.token.create(policies=[name], ttl="1h")["auth"]
    limited = hvac.Client(url=daemon.url, token=made["client_token"])
    assert limited.secrets.kv.v2.read_secret_version(path=f"{name}/x", raise_on_deleted_version=True)["data"]["data"] == {"k": "v"}
    with pytest.raises(hvac.exceptions.Forbidden):
        limited.secrets.kv.v2.create_or_update_secret(path=f"{name}/x", secret={})
    with pytest.raises(hvac.exceptions.Forbidden):
        limited.secrets.kv.v2.read_secret_version(path="elsewhere", raise_on_deleted_version=True)
    own = limited.auth.token.lookup_self()["data"]
    assert own["policies"] == sorted(["default", name]) and own["ttl"] > 3500
    assert limited.auth.token.renew_self(increment="10m")["auth"]["lease_duration"] == 600
    client.auth.token.revoke_accessor(made["accessor"])
    with pytest.raises(hvac.exceptions.Forbidden):
        limited.auth.token.lookup_self()
    nobody = hvac.Client(url=daemon.url)
    with pytest.raises(hvac.exceptions.Forbidden, match="permission denied"):
        nobody.secrets.kv.v2.read_secret_version(path=name, raise_on_deleted_version=True)


def test_login_as_a_user_of_the_file(daemon, name):
    c = hvac.Client(url=daemon.url)
    auth = c.auth.userpass.login(username=daemon.user, password=daemon.password)["auth"]
    assert "team" in auth["policies"]
    c.secrets.kv.v2.create_or_update_secret(path=name, secret={"k": "v"})
    with pytest.raises(hvac.exceptions.Forbidden):
        c.sys.seal()
    with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid username or password"):
        hvac.Client(url=daemon.url).auth.userpass.login(username=daemon.user, password="wrong")
    c.auth.token.revoke_self()
    with pytest.raises(hvac.exceptions.Forbidden):
        c.secrets.kv.v2.read_secret_version(path=name, raise_on_deleted_version=True)


def test_numbers_and_order_are_the_clients(daemon, name):
    body = '{"data":{"z":12345678901234567890,"a":1e400,"m":[1.10, {"x":null}]}}'
    daemon.vault("POST", f"secret/data/{name}", data=body).raise_for_status()
    assert '"data":{"z":12345678901234567890,"a":1e400,"m":[1.10, {"x":null}]}' in daemon.vault("GET", f"secret/data/{name}").text


def test_many_writers_lose_nothing(daemon, client, name):
    """64 versions of one secret from 8 threads, each a guarded batch of its own."""
    client.secrets.kv.v2.update_metadata(path=name, max_versions=100)
    failed = []

    def write(n):
        for i in range(8):
            r = daemon.vault("POST", f"secret/data/{name}", json={"data": {f"w{n}": i}})
            while r.status_code == 503:  # too much contention: said clearly, nothing written
                r = daemon.vault("POST", f"secret/data/{name}", json={"data": {f"w{n}": i}})
            if r.status_code != 200:
                failed.append(r.text)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failed
    assert client.secrets.kv.v2.read_secret_metadata(path=name)["data"]["current_version"] == 64


def test_kill_loses_nothing_that_was_acknowledged():
    with running(mount=False) as d:
        acknowledged, stop = {}, threading.Event()

        def write(n):
            i = 0
            while not stop.is_set():
                i += 1
                try:
                    if d.vault("POST", f"secret/data/k{n}", json={"data": {"i": i}}).status_code == 200:
                        acknowledged[n] = i
                except Exception:
                    return

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        [t.start() for t in threads]
        wait_for(lambda: len(acknowledged) == 8 and min(acknowledged.values()) > 3, what="a few writes of each")
        d.kill9()
        stop.set()
        [t.join() for t in threads]
        d.start()
        assert len(acknowledged) == 8
        for n, i in acknowledged.items():
            assert d.vault("GET", f"secret/data/k{n}").json()["data"]["data"]["i"] >= i


def test_seal_and_unseal():
    with running(mount=False) as d:
        c = hvac.Client(url=d.url, token=d.root_token)
        c.secrets.kv.v2.create_or_update_secret(path="s", secret={"k": "v"})
        c.sys.seal()
        assert c.sys.is_sealed()
        with pytest.raises(hvac.exceptions.VaultDown):
            c.secrets.kv.v2.read_secret_version(path="s", raise_on_deleted_version=True)
        with pytest.raises(hvac.exceptions.InvalidRequest):
            c.sys.submit_unseal_key("00" * 32)
        key = (d.data / "unseal.key").read_text().split()[1]
        assert not c.sys.submit_unseal_key(key)["sealed"]
        assert c.secrets.kv.v2.read_secret_version(path="s", raise_on_deleted_version=True)["data"]["data"] == {"k": "v"}
        c.sys.seal()
        d.restart()  # needs no person
        assert not c.sys.is_sealed()


@pytest.mark.parametrize("damage", ["cut", "wrong"])
def test_a_bad_keyfile_says_so(damage):
    with running(mount=False) as d:
        d.vault("POST", "secret/data/s", json={"data": {"k": "v"}}).raise_for_status()
        d.stop()
        file = d.data / "unseal.key"
        good = file.read_text()
        file.write_text(good[:40] if damage == "cut" else "11" * 32)
        d.start()
        assert str(file) in d.tail() and ("cut" if damage == "cut" else "not the one of this store") in d.tail()
        assert d.vault("GET", "secret/data/s").status_code == 503
        assert d.vault("GET", "sys/health").status_code == 503
        assert d.vault("PUT", "sys/unseal", json={"key": good.split()[1]}).json()["sealed"] is False
        assert d.vault("GET", "secret/data/s").json()["data"]["data"] == {"k": "v"}
        d.stop()
        file.write_text(good)
        d.start()
        assert d.vault("GET", "secret/data/s").json()["data"]["data"] == {"k": "v"}


def test_no_copy_of_a_secret_on_disk():
    with running(mount=False) as d:
        for i in range(50):
            d.vault("POST", f"secret/data/canary-name-{i}/canary-leaf", json={"data": {"canary-key": f"canary-value-{i}"}, "options": {}}).raise_for_status()
            d.vault("POST", f"secret/metadata/canary-name-{i}/canary-leaf", json={"custom_metadata": {"canary-meta": "canary-value"}}).raise_for_status()
            d.vault("GET", f"secret/data/canary-name-{i}/canary-leaf").raise_for_status()
        d.vault("POST", "auth/userpass/users/canary-user", json={"password": "canary-password"}).raise_for_status()
        d.vault("PUT", "cubbyhole/x", json={"k": "canary-value"}).raise_for_status()
        assert d.vault("POST", "secret/data/s", data='{"data":{"canary-value":1,}}').status_code == 400
        d.stop()
        checked = 0
        for file in [*d.data.rglob("*"), d.log]:
            if file.is_file():
                content = file.read_bytes()
                checked += len(content)
                for word in (b"canary-value", b"canary-key", b"canary-meta", b"canary-password"):
                    assert word not in content, f"{word} in {file}"
                if "store" in file.parts:  # the audit line says which path was asked for, the store does not
                    assert b"canary" not in content, f"a name in {file}"
        assert checked > 10000


def count_in_memory(pid, word):
    """How often the word stands in the memory of a process (its own hidden pages cannot be read)."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if "r" in mode and "[v" not in line and (size := int(end, 16) - int(start, 16)) < 1 << 30:
                try:
                    memory.seek(int(start, 16))
                    found += memory.read(size).count(word)
                except (OSError, ValueError):
                    pass
    return found


def test_no_copy_in_memory_once_sealed(released):
    with running() as d:
        try:
            open(f"/proc/{d.process.pid}/mem", "rb").close()
        except PermissionError:
            pytest.skip("the memory of another process cannot be read here")
        if re.search("/[at]san/", os.path.realpath(f"/proc/{d.process.pid}/exe")):
            pytest.skip("a sanitizer keeps copies of its own")
        word = "memory-" + "canary"
        for i in range(20):
            d.vault("POST", f"secret/data/s{i}", json={"data": {"k": word}}).raise_for_status()
            assert d.vault("GET", f"secret/data/s{i}").json()["data"]["data"]["k"] == word
        (d.mount / "f").mkdir()
        (d.mount / "f" / "k").write_text(word)
        assert (d.mount / "f" / "k").read_text() == word
        assert count_in_memory(d.process.pid, b"seal-status") > 0  # the scan does find what is there
        label = "named-" + "canary"
        for i in range(80):
            d.vault("POST", f"secret/data/many/{label}{i}", json={"data": {"k": "v"}}).raise_for_status()
        for _ in range(2):
            assert len(d.vault("LIST", "secret/metadata/many").json()["data"]["keys"]) == 80
            assert len(d.vault("SCAN", "secret/metadata/many").json()["data"]["keys"]) == 80
        d.vault("PUT", "sys/seal").raise_for_status()
        assert count_in_memory(d.process.pid, word.encode()) == 0
        assert count_in_memory(d.process.pid, label.encode()) == 0  # as little of the lists


def test_readers_beside_who_destroys(daemon, name):
    """A version that goes while it is read: its value, or a clear 404; never damage."""
    daemon.vault("POST", f"secret/metadata/{name}", json={"max_versions": 1}).raise_for_status()
    daemon.vault("POST", f"secret/data/{name}", json={"data": {"i": 0}}).raise_for_status()
    stop, bad = threading.Event(), []

    def read():
        while not stop.is_set():
            r = daemon.vault("GET", f"secret/data/{name}")
            if r.status_code != 200:
                bad.append(r.text)

    threads = [threading.Thread(target=read) for _ in range(4)]
    [t.start() for t in threads]
    for i in range(200):
        daemon.vault("POST", f"secret/data/{name}", json={"data": {"i": i}}).raise_for_status()
    stop.set()
    [t.join() for t in threads]
    assert not bad
