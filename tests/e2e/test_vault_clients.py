"""What real clients do with tokens, roles, leases, wrapped answers and transit: hvac, the CLI, node-vault, the Go client,
and the requests of Terraform's provider, External Secrets and the agents, replayed."""
import base64
import concurrent.futures
import json
import os
import pathlib
import subprocess

import pytest
import requests

from conftest import ROOT, need, run, running, wait_for

hvac = pytest.importorskip("hvac")
HERE = pathlib.Path(__file__).parent
TEXT = base64.b64encode(b"text").decode()


@pytest.fixture
def client(daemon):
    return hvac.Client(url=daemon.url, token=daemon.root_token)


@pytest.fixture
def bao(daemon, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_"))}
    environment |= {"BAO_ADDR": daemon.url, "BAO_TOKEN": daemon.root_token, "HOME": str(tmp_path), "BAO_FORMAT": "json"}

    def call(*arguments, ok=True, **extra):
        r = run(need("bao"), *arguments, ok=ok, env={**environment, **extra})
        r.json = json.loads(r.text) if ok and r.text.strip().startswith(("{", "[")) else None
        return r

    return call


def test_hvac_transit(client, name):
    client.sys.enable_secrets_engine("transit", path=name)
    t = client.secrets.transit
    t.create_key(name="k", mount_point=name)
    assert t.read_key(name="k", mount_point=name)["data"]["latest_version"] == 1
    assert t.list_keys(mount_point=name)["data"]["keys"] == ["k"]
    sealed = t.encrypt_data(name="k", plaintext=TEXT, mount_point=name)["data"]["ciphertext"]
    assert t.decrypt_data(name="k", ciphertext=sealed, mount_point=name)["data"]["plaintext"] == TEXT
    t.rotate_key(name="k", mount_point=name)
    assert t.rewrap_data(name="k", ciphertext=sealed, mount_point=name)["data"]["ciphertext"].startswith("vault:v2:")
    t.update_key_configuration(name="k", min_decryption_version=2, deletion_allowed=True, exportable=True, mount_point=name)
    client.write_data(f"{name}/keys/k/config", data={"min_encryption_version": 2})  # hvac wants it greater than the other
    with pytest.raises(hvac.exceptions.InvalidRequest, match="too old"):
        t.decrypt_data(name="k", ciphertext=sealed, mount_point=name)
    t.trim_key(name="k", min_version=2, mount_point=name)
    assert set(t.export_key(name="k", key_type="encryption-key", mount_point=name)["data"]["keys"]) == {"2"}
    batch = t.encrypt_data(name="k", batch_input=[{"plaintext": TEXT}] * 3, mount_point=name)["data"]["batch_results"]
    assert len({b["ciphertext"] for b in batch}) == 3
    assert len(base64.b64decode(t.generate_data_key(name="k", key_type="plaintext", bits=128, mount_point=name)["data"]["plaintext"])) == 16
    assert len(t.generate_random_bytes(n_bytes=7, output_format="hex", mount_point=name)["data"]["random_bytes"]) == 14
    assert len(t.hash_data(hash_input=TEXT, mount_point=name)["data"]["sum"]) == 64
    mac = t.generate_hmac(name="k", hash_input=TEXT, mount_point=name)["data"]["hmac"]
    assert t.verify_signed_data(name="k", hash_input=TEXT, hmac=mac, mount_point=name)["data"]["valid"]
    t.create_key(name="s", key_type="ecdsa-p256", mount_point=name)
    signed = t.sign_data(name="s", hash_input=TEXT, mount_point=name)["data"]["signature"]
    assert t.verify_signed_data(name="s", hash_input=TEXT, signature=signed, mount_point=name)["data"]["valid"]
    t.delete_key(name="k", mount_point=name)
    client.sys.disable_secrets_engine(name)
    client.sys.enable_secrets_engine("transit", path=name)
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.secrets.transit.list_keys(mount_point=name)


def test_hvac_approle(client, daemon, name):
    client.sys.enable_auth_method("approle", path=name)
    a = client.auth.approle
    a.create_or_update_approle("r", token_policies=["default"], token_ttl="30m", secret_id_num_uses=2, mount_point=name)
    assert a.list_roles(mount_point=name)["data"]["keys"] == ["r"]
    assert a.read_role("r", mount_point=name)["data"]["token_ttl"] == 1800
    a.update_role_id("r", f"id-{name}", mount_point=name)
    assert a.read_role_id("r", mount_point=name)["data"]["role_id"] == f"id-{name}"
    made = a.generate_secret_id("r", metadata={"host": "h"}, mount_point=name)["data"]
    assert a.read_secret_id("r", made["secret_id"], mount_point=name)["data"]["metadata"] == {"host": "h"}
    assert a.read_secret_id_accessor("r", made["secret_id_accessor"], mount_point=name)["data"]["secret_id_num_uses"] == 2
    assert a.list_secret_id_accessors("r", mount_point=name)["data"]["keys"] == [made["secret_id_accessor"]]
    app = hvac.Client(url=daemon.url)
    auth = app.auth.approle.login(f"id-{name}", made["secret_id"], mount_point=name)["auth"]
    assert auth["metadata"] == {"role_name": "r", "host": "h"} and auth["lease_duration"] == 1800
    assert app.auth.token.lookup_self()["data"]["entity_id"] == auth["entity_id"] != ""
    a.create_custom_secret_id("r", "mine", mount_point=name)
    a.destroy_secret_id("r", "mine", mount_point=name)
    a.destroy_secret_id_accessor("r", made["secret_id_accessor"], mount_point=name)
    for role_id, secret_id in ((f"id-{name}", made["secret_id"]), (f"id-{name}", "mine"), ("none", "none")):
        with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid role or secret ID"):
            hvac.Client(url=daemon.url).auth.approle.login(role_id, secret_id, mount_point=name)
    a.delete_role("r", mount_point=name)
    with pytest.raises(hvac.exceptions.InvalidPath):
        a.read_role("r", mount_point=name)


def test_the_last_use_of_a_secret_id_is_one(client, daemon, name):
    client.sys.enable_auth_method("approle", path=name)
    client.auth.approle.create_or_update_approle("r", secret_id_num_uses=3, mount_point=name)
    role_id = client.auth.approle.read_role_id("r", mount_point=name)["data"]["role_id"]
    secret_id = client.auth.approle.generate_secret_id("r", mount_point=name)["data"]["secret_id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: requests.post(f"{daemon.url}/v1/auth/{name}/login", json={"role_id": role_id, "secret_id": secret_id},
                                                        timeout=60).status_code, range(16)))
    assert sorted(answers) == [200] * 3 + [400] * 13


def test_hvac_tokens_roles_and_leases(client, daemon, name):
    t = client.auth.token
    t.create_or_update_role(name, allowed_policies=["default"], orphan=True, token_period="1h", path_suffix="sfx")
    assert name in t.list_roles()["data"]["keys"]
    assert t.read_role(name)["data"]["token_period"] == 3600
    made = t.create(role_name=name)["auth"]
    own = t.lookup(made["client_token"])["data"]
    assert own["orphan"] and own["period"] == 3600 and own["role"] == name and own["path"] == f"auth/token/create/{name}/sfx"
    keys = client.sys.list_leases(prefix=f"auth/token/create/{name}/sfx")["data"]["keys"]
    lease = f"auth/token/create/{name}/sfx/{keys[0]}"
    assert client.sys.read_lease(lease)["data"]["id"] == lease
    client.sys.revoke_lease(lease)
    with pytest.raises(hvac.exceptions.Forbidden):
        t.lookup(made["client_token"])
    several = [t.create(role_name=name)["auth"]["client_token"] for _ in range(3)]
    client.sys.revoke_prefix(f"auth/token/create/{name}")
    for token in several:
        with pytest.raises(hvac.exceptions.Forbidden):
            t.lookup(token)
    t.delete_role(name)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="unknown role"):
        t.create(role_name=name)


def test_a_tree_of_tokens_ends_with_its_root(client, daemon, name):
    client.sys.create_or_update_policy(name, 'path "auth/token/create" { capabilities = ["update", "sudo"] }')
    parent = client.auth.token.create(policies=[name], ttl="1h")["auth"]
    middle = hvac.Client(url=daemon.url, token=parent["client_token"])
    child = middle.auth.token.create(policies=[name], ttl="1h")["auth"]
    batch = middle.auth.token.create(policies=["default"], ttl="1h", type="batch")["auth"]["client_token"]
    orphan = middle.auth.token.create(policies=["default"], no_parent=True)["auth"]["client_token"]
    assert batch.startswith("b.") and hvac.Client(url=daemon.url, token=batch).auth.token.lookup_self()["data"]["type"] == "batch"
    client.auth.token.revoke_accessor(parent["accessor"])
    for token in (parent["client_token"], child["client_token"], batch):
        with pytest.raises(hvac.exceptions.Forbidden):
            hvac.Client(url=daemon.url, token=token).auth.token.lookup_self()
    assert hvac.Client(url=daemon.url, token=orphan).auth.token.lookup_self()["data"]["orphan"]


def test_batch_tokens_outlive_a_restart(own_daemon):
    root = hvac.Client(url=own_daemon.url, token=own_daemon.root_token)
    token = root.auth.token.create(policies=["default"], ttl="1h", type="batch", no_parent=True)["auth"]["client_token"]
    own_daemon.restart()
    assert own_daemon.vault("GET", "auth/token/lookup-self", token=token).json()["data"]["type"] == "batch"
    own_daemon.vault("PUT", "sys/seal").raise_for_status()
    assert own_daemon.vault("GET", "auth/token/lookup-self", token=token + "x").status_code in (403, 503)


def test_uses_and_addresses(client, daemon, name):
    token = client.auth.token.create(policies=["default"], num_uses=2)["auth"]["client_token"]
    seen = [daemon.vault("GET", "auth/token/lookup-self", token=token) for _ in range(3)]
    assert [r.status_code for r in seen] == [200, 200, 403]
    assert [r.json()["data"]["num_uses"] for r in seen[:2]] == [1, -1]
    role = {"allowed_policies": ["default"], "token_bound_cidrs": ["10.0.0.0/8"]}
    daemon.vault("POST", f"auth/token/roles/{name}", json=role).raise_for_status()
    elsewhere = client.auth.token.create(role_name=name)["auth"]["client_token"]
    assert daemon.vault("GET", "auth/token/lookup-self", token=elsewhere).status_code == 403
    daemon.vault("POST", f"auth/token/roles/{name}", json={"token_bound_cidrs": ["127.0.0.0/8"]}).raise_for_status()
    here = client.auth.token.create(role_name=name)["auth"]["client_token"]
    assert [daemon.vault("GET", "auth/token/lookup-self", token=here).status_code for _ in range(2)] == [200, 200]


def test_hvac_wrapping(client, daemon, name):
    wrapped = client.sys.wrap(payload={"a": "b"}, ttl=60)["wrap_info"]
    assert hvac.Client(url=daemon.url, token=wrapped["token"]).sys.unwrap()["data"] == {"a": "b"}
    with pytest.raises(hvac.exceptions.InvalidRequest, match="wrapping token is not valid or does not exist"):
        client.sys.unwrap(token=wrapped["token"])
    one = client.auth.token.create(policies=["default"], wrap_ttl="1m")["wrap_info"]
    assert one["creation_path"] == "auth/token/create" and one["wrapped_accessor"]
    assert client.sys.unwrap(token=one["token"])["auth"]["client_token"].startswith("s.")


def test_a_wrapped_answer_is_opened_once(daemon):
    for _ in range(5):
        token = daemon.vault("POST", "sys/wrapping/wrap", json={"a": 1}, headers={"X-Vault-Wrap-TTL": "60"}).json()["wrap_info"]["token"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _, t=token: requests.post(f"{daemon.url}/v1/sys/wrapping/unwrap", headers={"X-Vault-Token": t},
                                                                     timeout=60).status_code, range(8)))
        assert sorted(answers) == [200] + [400] * 7


def test_parameters_of_policies(client, daemon, name):
    client.sys.create_or_update_policy(name, f"""
        path "{name}/*" {{
            capabilities = ["create", "update", "read"]
            allowed_parameters = {{ "color" = ["red", "blue*"], "n" = [1], "free" = [] }}
            denied_parameters = {{ "free" = ["secret*"] }}
            required_parameters = ["color"]
        }}
        path "{name}/wrapped" {{ capabilities = ["read"] min_wrapping_ttl = "10s" max_wrapping_ttl = "1m" }}""")
    client.sys.enable_secrets_engine("kv", path=name)
    client.secrets.kv.v1.create_or_update_secret(path="wrapped", secret={"color": "red"}, mount_point=name)
    token = client.auth.token.create(policies=[name])["auth"]["client_token"]

    def status(body, path="x", method="POST", **headers):
        return daemon.vault(method, f"{name}/{path}", token=token, json=body, headers=headers).status_code

    good = [{"color": "red"}, {"color": "bluest", "n": 1}, {"color": "red", "free": {"x": [1]}}, {"color": "red", "Free": "x"}]
    bad = [{}, {"n": 1}, {"Color": "red"}, {"color": "green"}, {"color": "red", "n": 2}, {"color": "red", "n": "1"}, {"color": "red", "more": 1},
           {"color": "red", "free": "secrets"}, {"color": ["red"]}]
    assert [status(b) for b in good] == [204] * len(good)
    assert [status(b) for b in bad] == [403] * len(bad)
    assert [status(None, p, "GET") for p in ("x", "x?color=red", "x?color=green")] == [403, 200, 403]
    assert status(None, "wrapped", "GET") == 403
    assert [status(None, "wrapped", "GET", **{"X-Vault-Wrap-TTL": ttl}) for ttl in ("5", "30", "120")] == [403, 200, 403]


def test_templates_of_policies(client, daemon, name):
    accessor = client.sys.list_auth_methods()["data"]["userpass/"]["accessor"]
    client.sys.create_or_update_policy(name, f"""
        path "secret/data/{name}/{{{{identity.entity.aliases.{accessor}.name}}}}/*" {{ capabilities = ["create", "read", "update"] }}
        path "secret/data/{name}/by-id/{{{{identity.entity.id}}}}" {{ capabilities = ["create"] }}
        path "secret/data/{name}/none/{{{{identity.groups.names.g.id}}}}" {{ capabilities = ["create"] }}""")
    tokens = {}
    for user in ("ann", "ben"):
        client.auth.userpass.create_or_update_user(f"{user}-{name}", "pw", policies=[name])
        auth = hvac.Client(url=daemon.url).auth.userpass.login(f"{user}-{name}", "pw")["auth"]
        tokens[user] = (auth["client_token"], auth["entity_id"])
    for user, other in (("ann", "ben"), ("ben", "ann")):
        token, entity = tokens[user]
        own = [daemon.vault("POST", f"secret/data/{name}/{path}", token=token, json={"data": {}}).status_code
               for path in (f"{user}-{name}/x", f"{other}-{name}/x", f"by-id/{entity}", f"by-id/{tokens[other][1]}", "none/", "none/x")]
        assert own[:4] == [200, 403, 200, 403] and 200 not in own[4:]
    child = hvac.Client(url=daemon.url, token=tokens["ann"][0])
    client.sys.create_or_update_policy(f"{name}-make", 'path "auth/token/create" { capabilities = ["update"] }')
    assert child.auth.token.lookup_self()["data"]["entity_id"] == tokens["ann"][1]


def test_a_password_of_the_file_is_changed(own_daemon):
    root = hvac.Client(url=own_daemon.url, token=own_daemon.root_token)
    root.auth.userpass.update_password_on_user(own_daemon.user, "another password")
    line = own_daemon.htpasswd.read_text()
    assert line.startswith(f"{own_daemon.user}:$2") and "another" not in line
    assert requests.get(f"{own_daemon.url}/tree/", auth=(own_daemon.user, "another password"), timeout=60).status_code == 200
    assert requests.get(f"{own_daemon.url}/tree/", auth=own_daemon.auth, timeout=60).status_code == 401
    auth = hvac.Client(url=own_daemon.url).auth.userpass.login(own_daemon.user, "another password")["auth"]
    assert "team" in auth["policies"]
    with pytest.raises(hvac.exceptions.InvalidRequest):
        root.auth.userpass.update_password_on_user("nobody", "another password")


def test_cli(bao, daemon, name):
    bao("secrets", "enable", f"-path={name}", "transit")
    bao("write", "-f", f"{name}/keys/k")
    sealed = bao("write", f"{name}/encrypt/k", f"plaintext={TEXT}").json["data"]["ciphertext"]
    assert bao("write", f"{name}/decrypt/k", f"ciphertext={sealed}").json["data"]["plaintext"] == TEXT
    assert bao("list", f"{name}/keys").json == ["k"]
    bao("secrets", "tune", "-description=d", f"{name}/")
    bao("secrets", "move", f"{name}/", f"{name}-moved/")
    assert bao("read", f"{name}-moved/keys/k").json["data"]["latest_version"] == 1
    bao("secrets", "disable", f"{name}-moved/")
    bao("auth", "enable", f"-path={name}", "approle")
    bao("write", f"auth/{name}/role/r", "token_policies=default", "token_ttl=10m")
    role_id = bao("read", f"auth/{name}/role/r/role-id").json["data"]["role_id"]
    wrapped = bao("write", "-f", "-wrap-ttl=60s", f"auth/{name}/role/r/secret-id").json["wrap_info"]["token"]
    secret_id = bao("unwrap", wrapped).json["data"]["secret_id"]
    assert bao("unwrap", wrapped, ok=False).returncode == 2
    token = bao("write", f"auth/{name}/login", f"role_id={role_id}", f"secret_id={secret_id}").json["auth"]["client_token"]
    assert bao("token", "lookup", BAO_TOKEN=token).json["data"]["display_name"] == name
    assert bao("token", "renew", "-increment=5m", BAO_TOKEN=token).json["auth"]["lease_duration"] == 300
    assert "read" in bao("token", "capabilities", "auth/token/lookup-self", BAO_TOKEN=token, BAO_FORMAT="table").text
    made = bao("token", "create", "-policy=default", "-ttl=1h", "-type=batch").json["auth"]
    assert made["client_token"].startswith("b.") and made["accessor"] == ""
    assert bao("list", "auth/token/accessors").json
    bao("lease", "revoke", "-sync", "-prefix", f"auth/{name}/login")
    assert bao("token", "lookup", ok=False, BAO_TOKEN=token).returncode == 2
    assert "Read, write" in bao("path-help", "secret/data/x", BAO_FORMAT="table").text
    assert bao("plugin", "list").json
    assert bao("operator", "members").json


def test_node_vault(daemon, name):
    folder = os.environ.get("INFRAFS_NODE_MODULES", str(ROOT / "build" / "clients" / "node"))
    node = need("node")
    if not pathlib.Path(folder, "node_modules", "node-vault").exists():
        need("node-vault")  # says that it is missing, or fails
    r = subprocess.run([node, HERE / "vault_node.js", folder, name], capture_output=True, text=True, timeout=120,
                       env={**os.environ, "VAULT_ADDR": daemon.url, "VAULT_TOKEN": daemon.root_token})
    assert r.stdout.strip() == "ok", r.stderr


def test_go_client(daemon, name):
    r = subprocess.run([need("openbao_go"), name], capture_output=True, text=True, timeout=120,
                       env={"BAO_ADDR": daemon.url, "BAO_TOKEN": daemon.root_token, "HOME": "/nonexistent", "PATH": os.environ["PATH"]})
    assert r.stdout.strip() == "ok", r.stderr


def test_terraforms_requests(daemon, name):
    """The provider: a look at its token, a child of it, the version, then resources, read again after each write."""
    own = daemon.vault("GET", "auth/token/lookup-self").json()["data"]
    assert own["ttl"] == 0 and "expire_time" in own
    child = daemon.vault("POST", "auth/token/create", json={"ttl": "1200s", "explicit_max_ttl": "1200s", "renewable": False,
                                                            "display_name": "terraform"}).json()["auth"]
    assert 1190 <= child["lease_duration"] <= 1200 and not child["renewable"]
    token = child["client_token"]
    assert tuple(map(int, daemon.vault("GET", "sys/seal-status", token=token).json()["version"].split("."))) >= (1, 11, 0)
    for method, path, body, status in (
        ("PUT", f"sys/policies/acl/{name}", {"policy": 'path "secret/*" { capabilities = ["read"] }'}, 204),
        ("GET", f"sys/policies/acl/{name}", None, 200),
        ("POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": "2"}, "description": "", "config": {"default_lease_ttl": 0}}, 204),
        ("GET", f"sys/mounts/{name}", None, 200),
        ("GET", f"sys/mounts/{name}/tune", None, 200),
        ("PUT", f"{name}/data/app", {"data": {"k": "v"}, "options": {"cas": 0}, "cas": 0}, 200),
        ("GET", f"{name}/data/app", None, 200),
        ("GET", f"{name}/metadata/app", None, 200),
        ("POST", f"sys/auth/{name}", {"type": "approle", "config": {"default_lease_ttl": "", "max_lease_ttl": ""}}, 204),
        ("PUT", f"auth/{name}/role/app", {"token_policies": [name], "bind_secret_id": True, "secret_id_num_uses": 0}, 204),
        ("GET", f"auth/{name}/role/app", None, 200),
        ("GET", f"auth/{name}/role/app/role-id", None, 200),
        ("PUT", f"auth/{name}/role/app/secret-id", {"cidr_list": "", "metadata": ""}, 200),
        ("POST", f"sys/mounts/auth/{name}/tune", {"description": "x"}, 204),
        ("DELETE", f"{name}/metadata/app", None, 204),
        ("DELETE", f"auth/{name}/role/app", None, 204),
        ("DELETE", f"sys/auth/{name}", None, 204),
        ("DELETE", f"sys/mounts/{name}", None, 204),
        ("DELETE", f"sys/policies/acl/{name}", None, 204),
        ("PUT", "auth/token/revoke-self", None, 204),
    ):
        r = daemon.vault(method, path, token=token, json=body)
        assert r.status_code == status, (method, path, r.status_code, r.text)


def test_external_secrets_and_agents_requests(daemon, client, name):
    """Log in, look at the token, read a version, push with a mark in the metadata, find, end the token; and the agent's loop."""
    client.sys.enable_auth_method("approle", path=name)
    client.sys.create_or_update_policy(name, f'path "secret/*" {{ capabilities = ["create", "read", "update", "delete", "list", "patch"] }}')
    client.auth.approle.create_or_update_approle("eso", token_policies=[name], token_period="10m", mount_point=name)
    login = {"role_id": client.auth.approle.read_role_id("eso", mount_point=name)["data"]["role_id"],
             "secret_id": client.auth.approle.generate_secret_id("eso", mount_point=name)["data"]["secret_id"]}
    auth = requests.put(f"{daemon.url}/v1/auth/{name}/login", json=login, timeout=60).json()["auth"]
    token = auth["client_token"]
    own = daemon.vault("GET", "auth/token/lookup-self", token=token).json()["data"]
    assert own["type"] == "service" and 0 < own["ttl"] <= 600 and own["expire_time"] and own["period"] == 600
    mark = {"custom_metadata": {"managed-by": "external-secrets"}}
    for method, path, body, status in (
        ("GET", f"secret/data/{name}/pushed", None, 404),
        ("GET", f"secret/metadata/{name}/pushed", None, 404),
        ("POST", f"secret/metadata/{name}/pushed", mark, 204),
        ("GET", f"secret/metadata/{name}/pushed", None, 200),
        ("POST", f"secret/data/{name}/pushed", {"data": {"k": "v"}}, 200),
        ("GET", f"secret/data/{name}/pushed?version=1", None, 200),
        ("LIST", f"secret/metadata/{name}", None, 200),
        ("DELETE", f"secret/data/{name}/pushed", None, 204),
        ("DELETE", f"secret/metadata/{name}/pushed", None, 204),
        ("GET", "sys/health?drsecondarycode=299&performancestandbycode=299&sealedcode=299&standbycode=299&uninitcode=299", None, 200),
        ("PUT", "auth/token/renew-self", {"increment": 0}, 200),
        ("GET", f"sys/internal/ui/mounts/secret/{name}/pushed", None, 200),
        ("PUT", "auth/token/revoke-self", None, 204),
        ("GET", "auth/token/lookup-self", None, 403),
    ):
        r = daemon.vault(method, path, token=token, json=body)
        assert r.status_code == status, (method, path, r.status_code, r.text)


def test_every_denied_path_gives_the_same_refusal(daemon, client, name):
    client.secrets.kv.v2.create_or_update_secret(path=f"{name}/there", secret={"a": 1})
    client.sys.enable_secrets_engine("transit", path=f"{name}-t")
    client.secrets.transit.create_key(name="there", mount_point=f"{name}-t")
    client.sys.enable_auth_method("approle", path=f"{name}-r")
    client.auth.approle.create_or_update_approle("there", mount_point=f"{name}-r")
    token = client.auth.token.create(policies=["default"])["auth"]["client_token"]
    paths = [f"secret/{noun}/{name}/{which}" for noun in ("data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata")
             for which in ("there", "none")]
    paths += [f"{name}-t/{verb}/{which}" for verb in ("keys", "encrypt", "decrypt", "sign", "hmac", "export/hmac-key", "backup", "datakey/plaintext")
              for which in ("there", "none")]
    paths += [f"auth/{name}-r/role/{which}{below}" for below in ("", "/role-id", "/secret-id", "/policies") for which in ("there", "none")]
    paths += ["sys/mounts", f"sys/mounts/{name}-t", "sys/mounts/none", "sys/policies/acl/default", "sys/policies/acl/none", "sys/auth/none/tune",
              "auth/token/roles/none", "auth/userpass/users/none", "auth/token/create", "sys/leases/count", "nothing/here", "sys/nothing"]
    answers = {}
    for path in paths:
        for method in ("GET", "LIST", "POST", "PUT", "DELETE", "PATCH"):
            for who, key in ((token, "known"), ("s.nothing0000000000000000000", "unknown")):
                r = daemon.vault(method, path, token=who, json={"data": {}} if method not in ("GET", "LIST", "DELETE") else None,
                                 headers={"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {})
                if r.status_code != 405:  # no such method, whoever asks
                    answers.setdefault((key, r.status_code, r.text), []).append(f"{method} {path}")
    odd = {k: v for k, v in answers.items() if k[1] != 403}
    assert not odd and len(answers) == 2, odd or answers.keys()


def test_lists_show_what_may_be_read_where_that_is_configured(name):
    rule = """path "secret/metadata/*" { capabilities = ["list"] } path "secret/data/own/*" { capabilities = ["read"] }
              path "secret/data/top" { capabilities = ["read"] }"""
    listed = {}
    off, on = "audit: {keep: 10}\n", "secrets: {filter_lists: 1}\n"
    for config in (off, on):
        with running(mount=False, config=config) as d:
            for path in ("own/a", "other/b", "top", "hidden"):
                d.vault("POST", f"secret/data/{path}", json={"data": {"k": "v"}}).raise_for_status()
            d.vault("PUT", f"sys/policies/acl/{name}", json={"policy": rule}).raise_for_status()
            token = d.vault("POST", "auth/token/create", json={"policies": [name]}).json()["auth"]["client_token"]
            listed[config] = [d.vault("LIST", "secret/metadata", token=who).json()["data"]["keys"] for who in (token, None)]
            other = d.vault("LIST", "secret/metadata/other", token=token)
            assert other.status_code == (404 if config == on else 200)
    everything = ["hidden", "other/", "own/", "top"]
    assert listed == {off: [everything, everything], on: [["own/", "top"], everything]}


def test_json_that_is_no_request(daemon, name):
    deep = "[" * 1000 + "]" * 1000
    for body, status in ((f'{{"data":{{"a":{deep}}}}}', 400), ('{"data":{"a":1,"a":2}}', 400), ('{"data":{"a":1}} x', 400), ("[]", 400),
                         ('"x"', 400), ('{"data":', 400), ('{"data":{"a":"\\ud800"}}', 200), ("{" + '"x":' * 3, 400)):
        r = daemon.vault("POST", f"secret/data/{name}", data=body)
        assert r.status_code == status, (body[:40], r.status_code, r.text)
        assert status != 400 or r.json()["errors"]
    big = requests.post(f"{daemon.url}/v1/secret/data/{name}", headers={"X-Vault-Token": daemon.root_token},
                        data=b'{"data":{"a":"' + b"x" * (33 << 20) + b'"}}', timeout=120)
    assert big.status_code == 413


def test_paths_that_are_not_what_they_seem(daemon, name):
    daemon.vault("POST", f"secret/data/{name}/x", json={"data": {"a": 1}}).raise_for_status()
    token = daemon.vault("POST", "auth/token/create", json={"policies": ["default"]}).json()["auth"]["client_token"]
    raw = requests.Session()
    for path in (f"secret/data/{name}/../{name}/x", f"secret/data/{name}//x", f"secret/data/{name}/%2e%2e/{name}/x", f"secret/data/{name}/%2fx",
                 f"secret/data/{name}/x%00", f"cubbyhole/%2e%2e/secret/data/{name}/x", f"SECRET/data/{name}/x", f"secret/Data/{name}/x",
                 f"secret/data/{name.upper()}/x", f"sеcret/data/{name}/x", f"secret/data/{name}/x/", f"./secret/data/{name}/x"):
        for who in (daemon.root_token, token):
            prepared = requests.Request("GET", daemon.url, headers={"X-Vault-Token": who}).prepare()
            prepared.url = f"{daemon.url}/v1/{path}"
            r = raw.send(prepared, allow_redirects=False, timeout=60)
            assert r.status_code in (400, 403, 404) or (path.endswith("/x/") and who == daemon.root_token), (path, r.status_code, r.text)
            assert '"a":1' not in r.text or path.endswith("/x/")
            assert r.status_code != 400 or r.json()["errors"]
