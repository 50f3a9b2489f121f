"""Repositories of another registry, kept as they are pulled: beside a real one, beside one that fails, and beside none."""
import http.server
import json
import os
import threading

import make
import pytest
import requests
from conftest import need, run, running, wait_for


class Upstream(http.server.ThreadingHTTPServer):
    """A registry that is told how to behave; notes what it was asked."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.manifests, self.blobs, self.asked, self.headers = {}, {}, [], []
        self.status = None  # of every answer
        self.cut = None     # blobs break off after so many bytes
        self.gate = None    # an event that blobs wait for in their middle
        self.basic = None   # "Basic …": what opens it
        self.token = None   # "Bearer …": likewise, by way of realm
        self.realm = None
        self.redirect = None
        self.tags = {}      # repository: names, in pages of three
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, repo, tag, image):
        for ref in (tag, image.digest):
            self.manifests[f"/v2/{repo}/manifests/{ref}"] = image.manifest
        for blob in [image.config, *image.layers]:
            self.blobs[f"/v2/{repo}/blobs/{make.digest(blob)}"] = blob


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body)

    def send_body(self, body):
        u = self.server
        half = len(body) // 2
        if u.gate is not None and "/blobs/" in self.path:
            self.wfile.write(body[:half])
            self.wfile.flush()
            u.gate.wait(300)
            self.wfile.write(body[half:])
        elif u.cut is not None and "/blobs/" in self.path:
            self.wfile.write(body[:u.cut])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def do_GET(self):
        u = self.server
        path = self.path.split("?")[0]
        u.asked.append((self.command, path))
        u.headers.append(self.headers.get("Authorization"))
        if path == "/token":
            self.answer(200, json.dumps({"token": "t0ken", "expires_in": 300}).encode())
        elif u.status:
            self.answer(u.status)
        elif u.basic and self.headers.get("Authorization") != u.basic:
            self.answer(401, WWW_Authenticate='Basic realm="up"')
        elif u.token and self.headers.get("Authorization") != u.token:
            self.answer(401, WWW_Authenticate=f'Bearer realm="{u.realm}",service="up",scope="repository:x:pull"')
        elif path in u.manifests:
            body = u.manifests[path]
            self.answer(200, body, Content_Type=make.OCI_MANIFEST, Docker_Content_Digest=make.digest(body))
        elif path.endswith("/tags/list") and path[4:-10] in u.tags:
            names = u.tags[path[4:-10]]
            last = dict(p.split("=") for p in self.path.split("?")[1].split("&")).get("last", "")
            page = [t for t in sorted(names) if t > last][:3]
            more = page and page[-1] < max(names)
            self.answer(200, json.dumps({"name": path[4:-10], "tags": page or None}).encode(), **(
                {"Link": f'<{path}?n=3&last={page[-1]}>; rel="next"'} if more else {}))
        elif path in u.blobs and u.redirect:
            self.answer(307, Location=u.redirect + path)
        elif path in u.blobs:
            self.answer(200, u.blobs[path])
        else:
            self.answer(404)

    do_HEAD = do_GET


@pytest.fixture
def upstream():
    u = Upstream()
    yield u
    u.shutdown()
    u.server_close()


def config(url, more=""):
    return f'images: {{mirrors: [{{prefix: up, upstream: "{url}", fresh: 0{more}}}]}}\n'


@pytest.fixture
def mirror(upstream):
    with running(mount=False, config=config(upstream.url)) as d:
        yield d


def pull(s, repo, image, ref="1.0"):
    r = s.get(f"/v2/{repo}/manifests/{ref}")
    assert r.status_code == 200 and r.content == image.manifest and r.headers["Docker-Content-Digest"] == image.digest, r.text
    for blob in [image.config, *image.layers]:
        r = s.get(f"/v2/{repo}/blobs/{make.digest(blob)}")
        assert r.status_code == 200 and r.content == blob


def test_kept_revalidated_and_served_when_down(upstream, mirror, name):
    image, other = make.Image({"a": os.urandom(3_000_000)}), make.Image({"b": b"b"})
    upstream.add(f"team/{name}", "1.0", image)
    s, repo = mirror.http(), f"up/team/{name}"
    pull(s, repo, image)
    first = len(upstream.asked)
    pull(s, repo, image)  # what has a digest is asked for once; a tag by HEAD
    assert upstream.asked[first:] == [("HEAD", f"/v2/team/{name}/manifests/1.0")]
    pull(s, repo, image, image.digest)
    assert len(upstream.asked) == first + 1
    upstream.add(f"team/{name}", "1.0", other)
    pull(s, repo, other)
    for status in (500, 429, 403):
        upstream.status = status
        pull(s, repo, other)
        pull(s, repo, image, image.digest)
    mirror.restart()
    pull(mirror.http(), repo, other)
    s = mirror.http()
    upstream.shutdown()
    upstream.server_close()
    pull(s, repo, other)
    r = s.get(f"/v2/{repo}/manifests/2.0")
    assert r.status_code == 502 and "nothing is kept" in r.json()["errors"][0]["message"], r.text
    assert s.get(f"/v2/{repo}/blobs/sha256:{'1' * 64}").status_code == 502


def test_tags_are_those_there_and_those_here(upstream, mirror, name):
    image = make.Image()
    upstream.add(f"team/{name}", "1.0", image)
    s, repo = mirror.http(), f"up/team/{name}"

    def tags(query=""):
        r = s.get(f"/v2/{repo}/tags/list{query}")
        assert r.status_code == 200 and r.json()["name"] == repo, r.text
        return r.json()["tags"], r.headers.get("Link")

    assert s.get(f"/v2/{repo}/tags/list").status_code == 404
    upstream.status = 503
    r = s.get(f"/v2/up/none/{name}/tags/list")
    assert r.status_code == 502, r.text
    upstream.status = None
    upstream.tags[f"team/{name}"] = [f"v{i}" for i in range(8)]
    wait_for(lambda: s.get(f"/v2/{repo}/tags/list").status_code == 200)
    assert tags() == ([f"v{i}" for i in range(8)], None)  # nothing of it is here
    pull(s, repo, image)  # a tag that the list there does not have
    assert tags()[0] == ["1.0"] + [f"v{i}" for i in range(8)]
    page, link = tags("?n=4")
    assert page == ["1.0", "v0", "v1", "v2"] and link == f'</v2/{repo}/tags/list?n=4&last=v2>; rel="next"'
    assert tags("?n=100&last=v5") == (["v6", "v7"], None) and tags("?n=0") == ([], None)
    upstream.tags[f"team/{name}"] += ["v8", "1.0"]
    assert tags()[0] == ["1.0"] + [f"v{i}" for i in range(9)]
    for status in (500, 403):
        upstream.status = status
        assert tags()[0] == ["1.0"] + [f"v{i}" for i in range(9)]
    mirror.restart()
    s = mirror.http()
    assert tags()[0] == ["1.0"]  # what was pulled stays


def test_stops_beside_a_stalled_transfer(upstream, name):
    image = make.Image({"a": os.urandom(3_000_000)})
    upstream.add(f"team/{name}", "1.0", image)
    upstream.gate = threading.Event()
    with running(mount=False, config=config(upstream.url)) as d:
        s, repo = d.http(), f"up/team/{name}"
        s.get(f"/v2/{repo}/manifests/1.0").raise_for_status()
        r = s.get(f"/v2/{repo}/blobs/{make.digest(image.layers[0])}", stream=True)
        assert r.raw.read(1000)
        d.stop()
        assert "too slow" not in d.tail(), "it waited for the transfer to be given up as stalled"
    upstream.gate.set()


def test_not_there_and_not_taken(upstream, mirror, name):
    s, repo = mirror.http(), f"up/{name}"
    r = s.get(f"/v2/{repo}/manifests/1.0")
    assert r.status_code == 404 and r.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    assert s.get(f"/v2/{repo}/blobs/sha256:{'1' * 64}").status_code == 404
    assert s.head(f"/v2/{repo}/blobs/sha256:{'1' * 64}").status_code == 404
    r = s.post(f"/v2/{repo}/blobs/uploads/")
    assert r.status_code == 403 and "mirror" in r.text
    assert s.put(f"/v2/{repo}/manifests/x", data=make.Image().manifest, headers={"Content-Type": make.OCI_MANIFEST}).status_code == 403
    assert requests.get(f"{mirror.url}/v2/{repo}/manifests/1.0", timeout=60).status_code == 401
    # what is not what its digest says is neither given out whole nor kept
    image = make.Image({"a": os.urandom(500_000)})
    upstream.add(name, "1.0", image)
    path = f"/v2/{name}/blobs/{make.digest(image.layers[0])}"
    good = upstream.blobs[path]
    upstream.blobs[path] = good[:-1] + bytes([good[-1] ^ 1])
    pull_failed(s, repo, image)
    upstream.blobs[path] = good
    upstream.cut = 100_000
    pull_failed(s, repo, image)
    upstream.cut = None
    pull(s, repo, image)
    other = make.Image()
    upstream.manifests[f"/v2/{name}/manifests/{other.digest}"] = image.manifest
    assert s.get(f"/v2/{repo}/manifests/{other.digest}").status_code == 502


def pull_failed(s, repo, image):
    blob = make.digest(image.layers[0])
    try:
        r = s.get(f"/v2/{repo}/blobs/{blob}")
        assert r.status_code == 502
    except requests.RequestException:
        pass  # it broke off
    assert s.get(f"/v2/{repo}/manifests/1.0").status_code == 200


def test_streamed_while_it_comes(upstream, mirror, name):
    image = make.Image({"a": os.urandom(6_000_000)})
    upstream.add(name, "1.0", image)
    upstream.gate = threading.Event()
    s, path = mirror.http(), f"/v2/up/{name}/blobs/{make.digest(image.layers[0])}"
    first = s.get(path, stream=True)
    assert first.status_code == 200 and int(first.headers["Content-Length"]) == len(image.layers[0])
    got = first.raw.read(1_000_000)  # and the other half has not been sent
    assert len(got) == 1_000_000 and not upstream.gate.is_set()
    results = []

    def other(headers):
        r = mirror.http().get(path, headers=headers)
        results.append((r.status_code, r.content))
    threads = [threading.Thread(target=other, args=(h,)) for h in ({}, {"Range": "bytes=5000000-5000099"})]
    for t in threads:
        t.start()
    upstream.gate.set()
    assert got + first.raw.read() == image.layers[0]
    for t in threads:
        t.join(120)
    assert sorted(results)[0] == (200, image.layers[0]) and sorted(results)[1] == (206, image.layers[0][5000000:5000100])
    assert upstream.asked.count(("GET", path.replace("/up/", "/"))) == 1
    assert s.get(path, headers={"Range": "bytes=-7"}).content == image.layers[0][-7:]


def test_client_leaves_and_it_is_kept(upstream, mirror, name):
    image = make.Image({"a": os.urandom(5_000_000)})
    upstream.add(name, "1.0", image)
    upstream.gate = threading.Event()
    s, path = mirror.http(), f"/v2/up/{name}/blobs/{make.digest(image.layers[0])}"
    first = s.get(path, stream=True)
    first.raw.read(1000)
    first.close()
    upstream.gate.set()
    asked = ("GET", path.replace("/up/", "/"))
    assert s.get(path).content == image.layers[0]
    assert upstream.asked.count(asked) == 1


def test_credentials_stay_with_their_host(upstream, name, tmp_path):
    other = Upstream()
    image = make.Image({"a": os.urandom(100_000)})
    upstream.add(name, "1.0", image)
    other.blobs = {p: b for p, b in ((f"/v2/{name}/blobs/{make.digest(b)}", b) for b in [image.config, *image.layers])}
    (tmp_path / "password").write_text("s3cret\n")
    login = "Basic dXNlcjpzM2NyZXQ="
    more = f", username: user, password_file: {tmp_path}/password"
    # Basic; and a redirect elsewhere
    upstream.basic, upstream.redirect = login, other.url
    with running(mount=False, config=config(upstream.url, more)) as d:
        pull(d.http(), f"up/{name}", image)
        assert login in upstream.headers and set(other.headers) == {None}
        assert "s3cret" not in d.log.read_text()
    # a token by a realm of its own host
    upstream.basic, upstream.redirect, upstream.token, upstream.realm = None, None, "Bearer t0ken", upstream.url + "/token"
    upstream.headers.clear()
    with running(mount=False, config=config(upstream.url, more)) as d:
        pull(d.http(), f"up/{name}", image)
        assert upstream.headers.count(login) == 1 and "Bearer t0ken" in upstream.headers
    # by one of another host, which is not trusted, and then is
    upstream.realm = other.url + "/token"
    for trusted in (False, True):
        other.headers.clear()
        with running(mount=False, config=config(upstream.url, more + (f', realm: "{other.url}"' if trusted else ""))) as d:
            pull(d.http(), f"up/{name}", image)
            assert other.headers == [login if trusted else None]
    other.shutdown()
    other.server_close()


def test_names_without_the_prefix(upstream, name):
    """containerd says whose name it is; a mirror that is the default has what nobody has here."""
    image, ours = make.Image({"a": os.urandom(100_000)}), make.Image({"b": b"b"})
    upstream.add(f"library/{name}", "1.0", image)
    upstream.add(f"team/{name}", "1.0", image)
    for more, asked in (("", "?ns=up"), (", default: true", "")):
        with running(mount=False, config=config(upstream.url, more)) as d:
            s, mine = d.http(), f"team/{name}"
            r = s.get(f"/v2/library/{name}/manifests/1.0{asked}")
            assert r.status_code == 200 and r.content == image.manifest
            for blob in [image.config, *image.layers]:
                assert s.get(f"/v2/library/{name}/blobs/{make.digest(blob)}{asked}").content == blob
            assert s.get(f"/v2/library/{name}/tags/list{asked}").json()["tags"] == ["1.0"]
            assert s.get("/v2/_catalog").json()["repositories"] == [f"up/library/{name}"]
            if asked:
                assert s.get(f"/v2/library/{name}/manifests/1.0").status_code == 404
                assert s.get(f"/v2/library/{name}/manifests/1.0?ns=other.io").status_code == 404
            make.push_image(s, mine, "1.0", ours)  # what is the team's stays the team's
            assert s.get(f"/v2/{mine}/manifests/1.0").content == ours.manifest


def test_skopeo_through_a_mirror_of_ourselves(name, tmp_path):
    """Two daemons, the upstream with tokens; a multi-arch index comes piece by piece."""
    skopeo = need("skopeo")
    image = make.Image({"a": os.urandom(200_000)}, {"b": os.urandom(2_000_000)})
    with running(mount=False, config="images: {auth: bearer}\n") as up:
        (tmp_path / "password").write_text(up.password)
        s = up.http()
        make.push_image(s, f"team/{name}", "amd64", image)
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": make.OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": {"os": "linux", "architecture": "amd64"}}]})
        assert s.put(f"/v2/team/{name}/manifests/1.0", data=index, headers={"Content-Type": "application/vnd.oci.image.index.v1+json"}).status_code == 201
        with running(mount=False, config=config(up.url, f", username: {up.user}, password_file: {tmp_path}/password")) as d:
            run(skopeo, "copy", "--all", "--src-tls-verify=false", "--src-creds", f"{d.user}:{d.password}", f"docker://{d.host}/up/team/{name}:1.0", f"oci:{tmp_path}/out:x")
            for blob in [image.config, image.manifest, *image.layers]:
                assert (tmp_path / "out" / "blobs" / "sha256" / make.digest(blob)[7:]).read_bytes() == blob
            up.stop()
            run(skopeo, "copy", "--all", "--src-tls-verify=false", "--src-creds", f"{d.user}:{d.password}", f"docker://{d.host}/up/team/{name}:1.0", f"oci:{tmp_path}/again:x")
            up.start()


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_new_name_is_pushed_beside_a_default_mirror(upstream, state, auth, name, tmp_path):
    """Whose blobs the upstream has too: a client that is told so would not push them."""
    skopeo, crane, oras = need("skopeo", "crane", "oras")
    image = make.Image({"a": os.urandom(100_000)})
    image.layout(tmp_path / "in")
    for repo in ("raw", "skopeo", "crane"):
        upstream.add(f"team/{name}-{repo}", "1.0", image)
    upstream.status = None if state == "up" else 503
    where = config(upstream.url, ", default: true").replace("images: {", f"images: {{auth: {auth}, ")
    environment = dict(os.environ, DOCKER_CONFIG=str(tmp_path / "docker"), REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"))
    with running(mount=False, config=where) as d:
        # somebody who may do this and nothing else
        d.add_user("ci", "push it")
        d.vault("PUT", "sys/policies/acl/user-ci", json={"policy": 'path "images/team/*" { capabilities = ["create", "read"] }'}).raise_for_status()
        # clients ask without a login first, and are not told to log in where anybody may pull
        d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": 'path "images/up/*" { capabilities = ["read"] }'}).raise_for_status()
        s = d.http()
        s.auth = ("ci", "push it")
        raw, layer = f"team/{name}-raw", make.digest(image.layers[0])
        assert s.head(f"/v2/{raw}/blobs/{layer}").status_code == 404
        make.push_blob(s, raw, image.layers[0])
        assert s.head(f"/v2/{raw}/blobs/{layer}").status_code == 200 and s.get(f"/v2/{raw}/blobs/{layer}").content == image.layers[0]
        # one of the team, whom the mirror is open to
        team = d.http()
        assert team.head(f"/v2/{raw}/blobs/{layer}").status_code == 200 and team.get(f"/v2/{raw}/blobs/{layer}").content == image.layers[0]
        assert team.head(f"/v2/{raw}/blobs/{make.digest(image.config)}").status_code == 404
        r = team.get(f"/v2/{raw}/manifests/none")
        assert r.status_code == 404 and (state == "up" or "503" in r.text), r.text
        make.push_image(s, raw, "1.0", image)
        for user, password in (("ci", "push it"), d.auth):
            new = f"{d.host}/team/{name}-skopeo{user}:1.0"
            upstream.add(f"team/{name}-skopeo{user}", "2.0", image)
            run(skopeo, "copy", "--dest-tls-verify=false", "--dest-creds", f"{user}:{password}", f"oci:{tmp_path}/in:latest", f"docker://{new}", env=environment)
            run(crane, "auth", "login", d.host, "-u", user, "-p", password, env=environment)
            upstream.add(f"team/{name}-crane{user}", "2.0", image)
            run(crane, "copy", "--insecure", new, f"{d.host}/team/{name}-crane{user}:1.0", env=environment)
            (tmp_path / "file").write_text("x")
            run(oras, "push", "--plain-http", "-u", user, "-p", password, f"{d.host}/team/{name}-oras{user}:1.0", "file", cwd=tmp_path, env=environment)
            # oras asks with a token to pull, and pushes with another
            upstream.add(f"team/{name}-cp{user}", "2.0", image)
            run(oras, "cp", "--to-plain-http", "--to-username", user, "--to-password", password, "--from-oci-layout", f"{tmp_path}/in:latest",
                f"{d.host}/team/{name}-cp{user}:1.0", env=environment)
            for repo in ("skopeo", "crane", "cp"):
                assert team.get(f"/v2/team/{name}-{repo}{user}/manifests/1.0").content == image.manifest
            assert f"team/{name}-oras{user}" in team.get("/v2/_catalog").json()["repositories"]
        assert not [r for r in team.get("/v2/_catalog").json()["repositories"] if r.startswith("up/")]
