"""Bearer tokens: the challenge, /token, what a token opens and when it ends; docker and skopeo without a login."""
import base64
import json
import os

import make
import pytest
import requests
from conftest import need, run, running

CONFIG = "images: {auth: bearer}\n"
PUBLIC = 'path "images/pub/*" { capabilities = ["read"] }\npath "metrics" { capabilities = ["read"] }\n'


@pytest.fixture(scope="module")
def registry():
    with running(mount=False, config=CONFIG) as d:
        d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": PUBLIC}).raise_for_status()
        yield d


def bearer(registry, method, path, token=None, **k):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, registry.url + path, headers={**headers, **k.pop("headers", {})}, timeout=30, **k)


def token(registry, *scopes, auth=None, **more):
    r = requests.get(registry.url + "/token", params=[("service", registry.host), *(("scope", s) for s in scopes), *more.items()], auth=auth, timeout=30)
    r.raise_for_status()
    return r.json()


def test_challenge(registry, name):
    r = bearer(registry, "GET", "/v2/")
    assert r.status_code == 401 and r.json()["errors"][0]["code"] == "UNAUTHORIZED"
    assert r.headers["WWW-Authenticate"] == f'Bearer realm="{registry.url}/token",service="{registry.host}"'
    for method, path, scope in [
        ("GET", f"/v2/{name}/manifests/1.0", f"repository:{name}:pull"),
        ("PUT", f"/v2/{name}/manifests/1.0", f"repository:{name}:pull,push"),
        ("POST", f"/v2/{name}/blobs/uploads/", f"repository:{name}:pull,push"),
        ("DELETE", f"/v2/{name}/manifests/1.0", f"repository:{name}:pull,delete"),
        ("POST", f"/v2/{name}/blobs/uploads/?mount=sha256:{'0' * 64}&from=pub/x", f"repository:{name}:pull,push repository:pub/x:pull"),
    ]:
        r = bearer(registry, method, path)
        assert r.status_code == 401 and f'scope="{scope}"' in r.headers["WWW-Authenticate"], (method, path, r.headers)
    r = bearer(registry, "GET", f"/v2/{name}/tags/list", token="nonsense")
    assert r.status_code == 401 and 'error="invalid_token"' in r.headers["WWW-Authenticate"]


def test_scope_is_all_it_opens(registry, name):
    image = make.Image()
    make.push_image(registry.http(), name, "1.0", image)
    pull = token(registry, f"repository:{name}:pull", auth=registry.auth)
    assert pull["token"] == pull["access_token"] and pull["expires_in"] == 300 and pull["scope"] == f"repository:{name}:pull"
    assert bearer(registry, "GET", f"/v2/{name}/manifests/1.0", pull["token"]).content == image.manifest
    assert bearer(registry, "GET", "/v2/", pull["token"]).status_code == 200
    for method, path in [("POST", f"/v2/{name}/blobs/uploads/"), ("DELETE", f"/v2/{name}/manifests/1.0"), ("GET", f"/v2/{name}x/tags/list")]:
        r = bearer(registry, method, path, pull["token"])
        assert r.status_code == 401 and 'error="insufficient_scope"' in r.headers["WWW-Authenticate"], (method, path, r.text)
    assert bearer(registry, "GET", "/v2/_catalog", pull["token"]).json() == {"repositories": [name]}
    # nor anything beside the registry
    assert bearer(registry, "GET", "/v1/secret/data/x", pull["token"]).status_code == 403
    assert bearer(registry, "GET", "/simple/", pull["token"]).status_code in (401, 403)
    assert bearer(registry, "GET", "/tree/.htpasswd", pull["token"]).status_code in (401, 403, 404)
    both = token(registry, f"repository:{name}:pull,push repository:{name}x:delete", "repository(plugin):a:pull", auth=registry.auth)
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", both["token"]).status_code == 202
    catalog = token(registry, "registry:catalog:*", auth=registry.auth)
    assert name in bearer(registry, "GET", "/v2/_catalog", catalog["token"]).json()["repositories"]
    assert bearer(registry, "GET", f"/v2/{name}/manifests/1.0", catalog["token"]).status_code == 401


def test_oauth2_and_refresh(registry, name):
    def post(**form):
        return requests.post(registry.url + "/token", data={"service": registry.host, "client_id": "test", **form}, timeout=30)
    scope = f"repository:{name}:pull,push"
    r = post(grant_type="password", username=registry.user, password=registry.password, access_type="offline", scope=scope)
    assert r.status_code == 200 and r.headers["Cache-Control"] == "no-store"
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", r.json()["access_token"]).status_code == 202
    refresh = r.json()["refresh_token"]
    assert bearer(registry, "GET", "/v2/", refresh).status_code == 401  # it opens nothing itself
    again = post(grant_type="refresh_token", refresh_token=refresh, scope=scope)
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", again.json()["access_token"]).status_code == 202
    assert post(grant_type="refresh_token", refresh_token=again.json()["access_token"], scope=scope).status_code == 401
    assert post(grant_type="password", username=registry.user, password="wrong").status_code == 401
    for form in [{}, {"grant_type": "x"}, {"grant_type": "password"}, {"grant_type": "password", "username": registry.user, "password": registry.password, "scope": "x"}]:
        assert post(**form).status_code == 400, form


def test_refusals(registry):
    r = requests.get(registry.url + "/token", auth=("alice", "wrong"), timeout=30)
    assert r.status_code == 401 and r.headers["WWW-Authenticate"].startswith("Basic ")
    assert requests.get(registry.url + "/token?scope=repository:..:pull", auth=registry.auth, timeout=30).status_code == 400
    many = [("scope", f"repository:a{i}:pull") for i in range(17)]
    assert requests.get(registry.url + "/token", params=many, auth=registry.auth, timeout=30).status_code == 400
    good = token(registry, "repository:pub/x:pull", auth=registry.auth)["token"]
    head, body, mac = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["access"][0]["rights"] = 511
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for bad in [f"{head}.{forged}.{mac}", f"{none}.{forged}.", f"{head}.{body}.", f"{head}.{body}", good[:-1], good + "x", head + "."]:
        assert bearer(registry, "GET", "/v2/pub/x/tags/list", bad).status_code == 401, bad
    assert requests.get(registry.url + "/token", headers={"Authorization": f"Bearer {good}"}, timeout=30).status_code == 401


def test_ends_with_its_user(registry, name):
    registry.add_user("carol", "one password")
    t = token(registry, f"repository:{name}:pull,push", auth=("carol", "one password"))["token"]
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", t).status_code == 202
    run(os.environ.get("INFRAFS_BIN") or registry.command()[0], "user", "passwd", "--password-stdin", "--htpasswd", registry.htpasswd, "carol", input=b"another one")
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", t).status_code == 401
    # a token of the Vault kind: revoked, so is what was made from it
    root = registry.vault("POST", "auth/token/create", json={"policies": ["team"], "ttl": "1h"}).json()["auth"]
    t = token(registry, f"repository:{name}:push", auth=("__token__", root["client_token"]))["token"]
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", t).status_code == 202
    registry.vault("POST", "auth/token/revoke", json={"token": root["client_token"]}).raise_for_status()
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", t).status_code == 401
    # and it outlives a restart of the daemon
    t = token(registry, f"repository:{name}:push", auth=registry.auth)["token"]
    registry.restart()
    assert bearer(registry, "POST", f"/v2/{name}/blobs/uploads/", t).status_code == 202


def test_anonymous_pull(registry, name):
    image = make.Image()
    make.push_image(registry.http(), f"pub/{name}", "1.0", image)
    make.push_image(registry.http(), f"own/{name}", "1.0", image)
    t = token(registry, f"repository:pub/{name}:pull,push", f"repository:own/{name}:pull")
    assert t["scope"] == f"repository:pub/{name}:pull"
    assert bearer(registry, "GET", f"/v2/pub/{name}/manifests/1.0", t["token"]).content == image.manifest
    assert bearer(registry, "GET", f"/v2/own/{name}/manifests/1.0", t["token"]).status_code == 401
    assert bearer(registry, "POST", f"/v2/pub/{name}/blobs/uploads/", t["token"]).status_code == 401


@pytest.mark.parametrize("mode", ["bearer", "auto", "basic"])
def test_clients_with_and_without_login(mode, name, tmp_path):
    skopeo, crane = need("skopeo", "crane")
    image = make.Image({"a": os.urandom(100_000)})
    image.layout(tmp_path / "in")
    environment = dict(os.environ, DOCKER_CONFIG=str(tmp_path / "docker"), REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"))
    with running(mount=False, config=f"images: {{auth: {mode}}}\n") as d:
        d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": PUBLIC}).raise_for_status()
        run(skopeo, "copy", "--dest-tls-verify=false", "--dest-creds", f"{d.user}:{d.password}", f"oci:{tmp_path}/in:latest", f"docker://{d.host}/pub/{name}:1.0", env=environment)
        run(skopeo, "copy", "--src-tls-verify=false", f"docker://{d.host}/pub/{name}:1.0", f"dir:{tmp_path}/out", env=environment)
        assert (tmp_path / "out" / "manifest.json").read_bytes() == image.manifest
        run(crane, "pull", "--insecure", f"{d.host}/pub/{name}:1.0", tmp_path / "x.tar", env=environment)
        r = run(crane, "copy", "--insecure", f"{d.host}/pub/{name}:1.0", f"{d.host}/own/{name}:1.0", env=environment, ok=False)
        assert r.returncode != 0 and ("UNAUTHORIZED" in r.text or "401" in r.text or "DENIED" in r.text)
        run(crane, "auth", "login", d.host, "-u", d.user, "-p", d.password, env=environment)
        run(crane, "copy", "--insecure", f"{d.host}/pub/{name}:1.0", f"{d.host}/own/{name}:1.0", env=environment)
        assert run(crane, "digest", "--insecure", f"{d.host}/own/{name}:1.0", env=environment).text.strip() == image.digest


def test_immutable_tags(registry, name):
    """create without update: a new tag, but no tag moves; nor by two pushes at once."""
    registry.vault("PUT", "sys/policies/acl/releaser", json={"policy": f'path "images/{name}" {{ capabilities = ["create", "read"] }}'}).raise_for_status()
    auth = registry.vault("POST", "auth/token/create", json={"policies": ["releaser"], "no_default_policy": True}).json()["auth"]["client_token"]
    s = registry.http()
    s.auth = ("__token__", auth)
    first, second = make.Image(), make.Image({"other": b"x"})
    make.push_image(s, name, "1.0", first)
    for blob in [second.config, *second.layers]:
        make.push_blob(s, name, blob)

    def put(ref):
        return s.put(f"/v2/{name}/manifests/{ref}", data=second.manifest, headers={"Content-Type": make.OCI_MANIFEST})
    r = put("1.0")
    assert r.status_code == 403 and r.json()["errors"][0]["code"] == "DENIED" and "1.0" in r.text
    assert put(f"{second.digest}?tag=2.0&tag=1.0").status_code == 403
    assert s.get(f"/v2/{name}/manifests/2.0").status_code == 404  # all or nothing
    assert put("2.0").status_code == 201 and put("2.0").status_code == 201
    assert s.delete(f"/v2/{name}/manifests/2.0").status_code == 403
    assert registry.http().put(f"/v2/{name}/manifests/1.0", data=second.manifest, headers={"Content-Type": make.OCI_MANIFEST}).status_code == 201
