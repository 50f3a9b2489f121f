"""The CLI of OpenBao, as a person uses it."""
import json
import os

import pytest

from conftest import need, run


@pytest.fixture
def bao(daemon, tmp_path):
    program, home = need("bao"), tmp_path
    environment = {**os.environ, "BAO_ADDR": daemon.url, "BAO_TOKEN": daemon.root_token, "HOME": home, "BAO_FORMAT": "json"}
    for k in ("VAULT_ADDR", "VAULT_TOKEN"):
        environment.pop(k, None)

    def call(*arguments, ok=True, **extra):
        r = run(program, *arguments, ok=ok, env={**environment, **extra})
        r.json = json.loads(r.text) if ok and r.text.strip().startswith(("{", "[")) else None
        return r

    return call


def test_kv(bao, name):
    assert bao("kv", "put", "-mount=secret", f"{name}/db", "user=a", "pass=b").json["data"]["version"] == 1
    bao("kv", "put", f"secret/{name}/db", "user=a", "pass=c")
    assert bao("kv", "get", f"secret/{name}/db").json["data"]["data"] == {"user": "a", "pass": "c"}
    assert bao("kv", "get", "-version=1", f"secret/{name}/db").json["data"]["data"]["pass"] == "b"
    assert bao("kv", "list", f"secret/{name}").json == ["db"]
    bao("kv", "patch", f"secret/{name}/db", "more=1")
    bao("kv", "patch", "-method=rw", f"secret/{name}/db", "again=2")
    assert bao("kv", "get", "-field=more", f"secret/{name}/db").text.strip() == '"1"'
    bao("kv", "delete", f"secret/{name}/db")
    deleted = bao("kv", "get", f"secret/{name}/db").json["data"]  # the body of the 404
    assert deleted["data"] is None and deleted["metadata"]["deletion_time"]
    bao("kv", "undelete", "-versions=4", f"secret/{name}/db")
    bao("kv", "destroy", "-versions=1", f"secret/{name}/db")
    meta = bao("kv", "metadata", "get", f"secret/{name}/db").json["data"]
    assert meta["current_version"] == 4 and meta["versions"]["1"]["destroyed"]
    bao("kv", "metadata", "put", "-max-versions=5", "-custom-metadata=o=me", f"secret/{name}/db")
    bao("kv", "metadata", "patch", "-custom-metadata=p=you", f"secret/{name}/db")
    assert bao("kv", "metadata", "get", f"secret/{name}/db").json["data"]["custom_metadata"] == {"o": "me", "p": "you"}
    bao("kv", "rollback", "-version=2", f"secret/{name}/db")
    assert bao("kv", "get", f"secret/{name}/db").json["data"]["data"] == {"user": "a", "pass": "c"}
    assert bao("kv", "put", "-cas=1", f"secret/{name}/db", "a=b", ok=False).returncode == 2
    bao("kv", "metadata", "delete", f"secret/{name}/db")
    gone = bao("kv", "get", f"secret/{name}/db", ok=False)
    assert gone.returncode == 2 and "No value found" in gone.text


def test_status_and_operator(bao, daemon):
    status = bao("status").json
    assert status["initialized"] and not status["sealed"]
    assert '"term"' in bao("operator", "key-status").text
    bao("operator", "rotate")
    assert bao("kv", "put", "secret/after-rotate", "a=b").json["data"]["version"] >= 1
    assert bao("read", "nope/x", ok=False).returncode == 2


def test_login_and_tokens(bao, daemon, name):
    login = bao("login", "-method=userpass", f"username={daemon.user}", f"password={daemon.password}", BAO_TOKEN="").json
    assert "team" in login["auth"]["policies"]
    own = {"BAO_TOKEN": login["auth"]["client_token"]}
    bao("kv", "put", f"secret/{name}", "a=b", **own)
    assert bao("token", "lookup", **own).json["data"]["display_name"].endswith(daemon.user)
    assert "read" in bao("token", "capabilities", f"secret/data/{name}").text or "root" in bao("token", "capabilities", f"secret/data/{name}").text
    assert bao("secrets", "enable", "-path=x", "kv", ok=False, **own).returncode == 2
    bao("token", "revoke", "-self", **own)
    assert bao("token", "lookup", ok=False, **own).returncode == 2
    made = bao("token", "create", "-policy=default", "-ttl=5m").json["auth"]
    assert made["lease_duration"] == 300
    bao("token", "renew", made["client_token"])
    bao("token", "revoke", "-accessor", made["accessor"])


def test_mounts_and_policies(bao, name, tmp_path):
    bao("secrets", "enable", f"-path={name}", "-version=2", "kv")
    assert bao("secrets", "list").json[f"{name}/"]["options"]["version"] == "2"
    bao("kv", "put", f"{name}/a", "k=v")
    bao("secrets", "tune", "-description=mine", name)
    bao("secrets", "move", name, f"{name}-moved")
    assert bao("kv", "get", f"{name}-moved/a").json["data"]["data"] == {"k": "v"}
    bao("secrets", "disable", f"{name}-moved")
    (tmp_path / "p.hcl").write_text('path "secret/data/x" { capabilities = ["read"] }\n')
    bao("policy", "write", name, tmp_path / "p.hcl")
    assert "secret/data/x" in bao("policy", "read", name).text
    assert name in bao("policy", "list").json
    bao("policy", "delete", name)
    bao("auth", "enable", f"-path={name}", "userpass")
    bao("write", f"auth/{name}/users/bob", "password=pw", "policies=default")
    assert bao("list", f"auth/{name}/users").json == ["bob"]
    assert "default" in bao("login", "-method=userpass", f"-path={name}", "username=bob", "password=pw", BAO_TOKEN="").json["auth"]["policies"]
    bao("auth", "disable", name)
    bao("write", "cubbyhole/mine", "a=b")
    assert bao("read", "cubbyhole/mine").json["data"] == {"a": "b"}
