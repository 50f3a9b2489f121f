"""The OCI distribution API, request by request: what clients send, and what they send when they are wrong."""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

import make
import pytest
import requests
from conftest import run, running, wait_for

INDEX = "application/vnd.oci.image.index.v1+json"
NONE = "sha256:" + "0" * 62 + "aa"


def join(location, digest):
    return location + ("&" if "?" in location else "?") + "digest=" + digest.replace(":", "%3A")


def code(r):
    return r.json()["errors"][0]["code"]


def begin(s, repo):
    r = s.post(f"/v2/{repo}/blobs/uploads/")
    assert r.status_code == 202 and r.headers["Range"] == "0-0" and r.headers["Docker-Upload-UUID"]
    return r.headers["Location"]


def put_manifest(s, repo, ref, content, kind=make.OCI_MANIFEST, **k):
    return s.put(f"/v2/{repo}/manifests/{ref}", data=content, headers={"Content-Type": kind}, **k)


def test_login(daemon):
    s = daemon.http(auth=False)
    r = s.get("/v2/")
    assert r.status_code == 401 and r.headers["WWW-Authenticate"] == 'Basic realm="infrafs"' and code(r) == "UNAUTHORIZED"
    assert s.get("/v2/", auth=(daemon.user, "wrong")).status_code == 401
    assert s.get("/v2/", auth=("nobody", "wrong")).status_code == 401
    r = s.get("/v2/", auth=daemon.auth)
    assert r.status_code == 200 and r.json() == {} and r.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_every_path_is_closed(daemon, name):
    make.push_image(daemon.http(), f"team/{name}", "1", make.Image())
    s = daemon.http(auth=False)
    for method, path in [("GET", "_catalog"), ("GET", f"team/{name}/tags/list"), ("GET", f"team/{name}/manifests/1"), ("HEAD", f"team/{name}/manifests/1"),
                         ("PUT", f"team/{name}/manifests/1"), ("DELETE", f"team/{name}/manifests/1"), ("GET", f"team/{name}/blobs/{NONE}"),
                         ("DELETE", f"team/{name}/blobs/{NONE}"), ("POST", f"team/{name}/blobs/uploads/"), ("PATCH", f"team/{name}/blobs/uploads/x"),
                         ("PUT", f"team/{name}/blobs/uploads/x?digest={NONE}"), ("GET", f"team/{name}/blobs/uploads/x"), ("DELETE", f"team/{name}/blobs/uploads/x"),
                         ("GET", f"team/{name}/referrers/{NONE}"), ("GET", "no/such/tags/list")]:
        r = s.request(method, "/v2/" + path, data=b"x" if method in ("PUT", "PATCH") else None)
        assert r.status_code == 401 and "Basic" in r.headers["WWW-Authenticate"], (method, path, r.status_code)


def test_manifest(daemon, name):
    s, image = daemon.http(), make.Image()
    make.push_image(s, name, "1.0", image)
    for ref in ("1.0", image.digest):
        for method in ("GET", "HEAD"):
            r = s.request(method, f"/v2/{name}/manifests/{ref}", headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"})
            assert r.status_code == 200 and r.headers["Content-Type"] == make.OCI_MANIFEST
            assert r.headers["Docker-Content-Digest"] == image.digest and r.headers["ETag"] == f'"{image.digest}"'
            assert r.headers["Content-Length"] == str(len(image.manifest)) and r.content == (image.manifest if method == "GET" else b"")
    assert s.get(f"/v2/{name}/manifests/1.0", headers={"If-None-Match": f'"{image.digest}"'}).status_code == 304
    for path, status, error in [(f"{name}/manifests/none", 404, "MANIFEST_UNKNOWN"), (f"{name}/manifests/{NONE}", 404, "MANIFEST_UNKNOWN"),
                                (f"{name}x/manifests/1.0", 404, "NAME_UNKNOWN"), (f"{name}/manifests/sha256:zz", 400, "DIGEST_INVALID"),
                                (f"{name}/manifests/md5:{'0' * 32}", 400, "DIGEST_INVALID"), (f"{name.upper()}/manifests/1.0", 400, "NAME_INVALID")]:
        r = s.get("/v2/" + path)
        assert r.status_code == status and code(r) == error, (path, r.status_code, r.text)


def test_manifest_refusals(daemon, name):
    s, image = daemon.http(), make.Image()
    r = put_manifest(s, name, "1", image.manifest)
    assert r.status_code == 400 and code(r) == "MANIFEST_BLOB_UNKNOWN"
    assert s.get(f"/v2/{name}/tags/list").status_code == 404
    make.push_image(s, name, "1", image)
    for ref, content, kind, status, error in [
            ("2", b"{", make.OCI_MANIFEST, 400, "MANIFEST_INVALID"), ("2", b"[]", make.OCI_MANIFEST, 400, "MANIFEST_INVALID"),
            ("2", image.manifest, INDEX, 400, "MANIFEST_INVALID"), (NONE, image.manifest, make.OCI_MANIFEST, 400, "DIGEST_INVALID"),
            ("sha256:x", image.manifest, make.OCI_MANIFEST, 400, "DIGEST_INVALID"), ("-x", image.manifest, make.OCI_MANIFEST, 400, "NAME_INVALID"),
            ("2", b" " * (4 << 20) + image.manifest, make.OCI_MANIFEST, 413, "MANIFEST_INVALID")]:
        r = put_manifest(s, name, ref, content, kind)
        assert r.status_code == status and code(r) == error, (ref, content[:40], r.status_code, r.text)
    assert s.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["1"]}
    padded = image.manifest[:-1] + b" " * ((4 << 20) - len(image.manifest)) + b"}"
    assert len(padded) == 4 << 20
    assert put_manifest(s, name, "big", padded).status_code == 201
    assert s.get(f"/v2/{name}/manifests/big").content == padded


def test_manifest_delete(daemon, name):
    s, image = daemon.http(), make.Image()
    make.push_image(s, name, "a", image)
    put_manifest(s, name, "b", image.manifest)
    assert s.delete(f"/v2/{name}/manifests/a").status_code == 202
    assert s.get(f"/v2/{name}/manifests/a").status_code == 404
    assert s.get(f"/v2/{name}/manifests/{image.digest}").status_code == 200
    assert s.delete(f"/v2/{name}/manifests/{image.digest}").status_code == 202
    for ref in ("b", image.digest):
        assert s.get(f"/v2/{name}/manifests/{ref}").status_code == 404
        assert s.delete(f"/v2/{name}/manifests/{ref}").status_code == 404
    assert s.get(f"/v2/{name}/tags/list").json()["tags"] == []


def test_pages(daemon, name):
    s, image = daemon.http(), make.Image()
    make.push_image(s, name, "t0", image)
    r = put_manifest(s, name, image.digest + "?" + "&".join(f"tag=t{i}" for i in range(1, 25)), image.manifest)
    assert r.status_code == 201 and r.headers["Docker-Content-Digest"] == image.digest and "t24" in r.headers["OCI-Tag"]
    expected, got, url = sorted(f"t{i}" for i in range(25)), [], f"/v2/{name}/tags/list?n=10"
    while url:
        r = s.get(url)
        assert len(r.json()["tags"]) <= 10
        got += r.json()["tags"]
        link = r.headers.get("Link")
        url = link[1:link.index(">")] if link else None
    assert got == expected
    assert s.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": expected}
    assert s.get(f"/v2/{name}/tags/list?n=0").json()["tags"] == []
    assert s.get(f"/v2/{name}/tags/list?n=x").status_code == 400
    for sub in ("z", "a/b", "a-b"):
        make.push_image(s, f"{name}/{sub}", "1", image)
    repos = [r for r in s.get("/v2/_catalog").json()["repositories"] if r.startswith(name)]
    assert repos == sorted([name, f"{name}/z", f"{name}/a/b", f"{name}/a-b"])


def test_blob(daemon, name):
    s, content = daemon.http(), os.urandom(100_000)
    d = make.push_blob(s, name, content)
    url = f"/v2/{name}/blobs/{d}"
    r = s.head(url)
    assert r.status_code == 200 and r.headers["Content-Length"] == "100000" and r.headers["Docker-Content-Digest"] == d
    assert s.get(url).content == content
    for asked, part in [("0-0", content[:1]), ("500-1499", content[500:1500]), ("99999-", content[-1:]), ("-500", content[-500:]), ("99000-200000", content[99000:])]:
        r = s.get(url, headers={"Range": "bytes=" + asked})
        assert r.status_code == 206 and r.content == part and r.headers["Content-Range"].endswith("/100000"), asked
    assert s.get(url, headers={"Range": "bytes=100000-"}).status_code == 416
    assert s.get(f"/v2/{name}x/blobs/{d}").status_code == 404
    assert code(s.get(f"/v2/{name}/blobs/{NONE}")) == "BLOB_UNKNOWN"
    assert s.get(f"/v2/{name}/blobs/sha256:1").status_code == 400
    assert s.delete(url).status_code == 202
    assert s.head(url).status_code == 404 and s.delete(url).status_code == 404
    for empty in (b"", b"{}"):
        d = make.push_blob(s, name, empty)
        assert s.get(f"/v2/{name}/blobs/{d}").content == empty


def test_sha512(daemon, name):
    s, content = daemon.http(), os.urandom(5000)
    d = "sha512:" + hashlib.sha512(content).hexdigest()
    r = s.put(join(begin(s, name), d), data=content)
    assert r.status_code == 201 and r.headers["Docker-Content-Digest"] == d
    assert s.get(r.headers["Location"]).content == content
    r = s.post(f"/v2/{name}/blobs/uploads/?digest-algorithm=sha512")
    assert r.status_code == 202
    assert s.put(join(r.headers["Location"], d), data=content).status_code == 201
    assert s.post(f"/v2/{name}/blobs/uploads/?digest={d}", data=content).status_code == 201
    image = make.Image()
    make.push_image(s, name, "1", image)
    d = "sha512:" + hashlib.sha512(image.manifest).hexdigest()
    assert put_manifest(s, name, d, image.manifest).headers["Docker-Content-Digest"] == d
    r = s.get(f"/v2/{name}/manifests/{d}")
    assert r.content == image.manifest and r.headers["Docker-Content-Digest"] == d


def test_upload_in_chunks(daemon, name):
    s, content = daemon.http(), os.urandom(3_000_000)
    d, location = make.digest(content), begin(s, name)
    for start in range(0, len(content), 1_000_000):
        end = start + 999_999
        for bad in (f"{start + 1}-{end + 1}", f"{start + 5000}-{end + 5000}") + ((f"0-{999_999}",) if start else ()):
            r = s.patch(location, data=content[:1_000_000], headers={"Content-Range": bad})
            assert r.status_code == 416, (bad, r.status_code, r.text)
            r = s.get(location)
            assert r.status_code == 204 and r.headers["Range"] == f"0-{max(start - 1, 0)}"
        if start < 2_000_000:
            r = s.patch(location, data=content[start:end + 1], headers={"Content-Range": f"{start}-{end}"})
            assert r.status_code == 202 and r.headers["Range"] == f"0-{end}"
            location = r.headers["Location"]
    assert s.put(join(location, d), data=content[2_000_000:], headers={"Content-Range": "2000001-2999999"}).status_code in (400, 416)
    assert s.put(join(location, d), data=content[2_000_000:], headers={"Content-Range": "2000000-2999999"}).status_code == 201
    assert s.get(f"/v2/{name}/blobs/{d}").content == content
    assert s.get(location).status_code == 404


def test_upload_streamed_without_length(daemon, name):
    s, content = daemon.http(), os.urandom(9_000_001)
    d, location = make.digest(content), begin(s, name)
    r = s.patch(location, data=(content[i:i + 65536] for i in range(0, len(content), 65536)))
    assert r.status_code == 202 and r.headers["Range"] == f"0-{len(content) - 1}"
    r = s.put(join(r.headers["Location"], d))
    assert r.status_code == 201 and s.get(r.headers["Location"]).content == content


def test_upload_refusals(daemon, name):
    s, location = daemon.http(), begin(daemon.http(), name)
    assert s.patch(location, data=b"content").status_code == 202
    r = s.put(join(location, NONE))
    assert r.status_code == 400 and code(r) == "DIGEST_INVALID"
    assert s.put(join(location, "sha256:zz")).status_code == 400
    assert s.put(location).status_code == 400
    assert s.patch(location, data=b"x", headers={"Content-Range": "rubbish"}).status_code == 400
    assert s.put(join(location, make.digest(b"content"))).status_code == 201
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        r = s.request(method, f"{location}?digest={NONE}", data=b"")
        assert r.status_code == 404 and code(r) == "BLOB_UPLOAD_UNKNOWN", method
    r = s.post(f"/v2/{name}/blobs/uploads/?digest={NONE}", data=b"content")
    assert r.status_code == 400 and code(r) == "DIGEST_INVALID"
    location = begin(s, name)
    assert s.delete(location).status_code == 204 and s.get(location).status_code == 404
    assert s.post(f"/v2/{name.upper()}/blobs/uploads/").status_code == 400


def test_mount(daemon, name):
    s, content = daemon.http(), os.urandom(2000)
    d = make.push_blob(s, f"{name}/a", content)
    r = s.post(f"/v2/{name}/b/blobs/uploads/?mount={d}&from={name}/a")
    assert r.status_code == 201 and r.headers["Docker-Content-Digest"] == d and s.get(r.headers["Location"]).content == content
    assert s.post(f"/v2/{name}/c/blobs/uploads/?mount={d}").status_code == 201
    for query in (f"mount={NONE}&from={name}/a", f"mount={d}&from={name}/none", "mount=rubbish&from=x", f"mount={NONE}"):
        r = s.post(f"/v2/{name}/d/blobs/uploads/?{query}")
        assert r.status_code == 202 and r.headers["Location"], query
    assert s.delete(f"/v2/{name}/a/blobs/{d}").status_code == 202
    assert s.get(f"/v2/{name}/b/blobs/{d}").content == content


def test_referrers(daemon, name):
    s, image = daemon.http(), make.Image()
    make.push_image(s, name, "1", image)
    empty = make.push_blob(s, name, b"{}")
    assert s.get(f"/v2/{name}/referrers/{image.digest}").json() == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    digests = {}
    for kind in ("a/sbom", "a/signature"):
        m = json.dumps({"schemaVersion": 2, "mediaType": make.OCI_MANIFEST, "artifactType": kind, "annotations": {"k": kind},
                        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}, "layers": [],
                        "subject": {"mediaType": make.OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}}).encode()
        digests[kind] = make.digest(m)
        assert put_manifest(s, name, digests[kind], m).headers["OCI-Subject"] == image.digest
    r = s.get(f"/v2/{name}/referrers/{image.digest}")
    assert r.headers["Content-Type"] == INDEX
    assert {(d["artifactType"], d["digest"], d["annotations"]["k"]) for d in r.json()["manifests"]} == {(k, v, k) for k, v in digests.items()}
    r = s.get(f"/v2/{name}/referrers/{image.digest}", params={"artifactType": "a/sbom"})
    assert r.headers["OCI-Filters-Applied"] == "artifactType" and [d["digest"] for d in r.json()["manifests"]] == [digests["a/sbom"]]
    s.delete(f"/v2/{name}/manifests/{digests['a/sbom']}")
    assert [d["digest"] for d in s.get(f"/v2/{name}/referrers/{image.digest}").json()["manifests"]] == [digests["a/signature"]]
    assert s.get(f"/v2/{name}/referrers/rubbish").status_code == 400


def test_client_vanishes(daemon, name):
    s, content = daemon.http(), os.urandom(6_000_000)
    location = begin(s, name)
    with socket.create_connection(("127.0.0.1", daemon.port)) as c:
        c.sendall(f"PATCH {location} HTTP/1.1\r\nHost: {daemon.host}\r\nAuthorization: {basic(daemon)}\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        c.sendall(content[:4_000_000])
        time.sleep(0.5)

    def given_back():
        r = s.patch(location, data=b"")
        return r.status_code == 202 and r
    r = wait_for(given_back, 20, "the session to be free again")
    have = int(r.headers["Range"].split("-")[1]) + 1
    assert have <= 4_000_000
    have = 0 if have == 1 else have
    assert s.put(join(location, make.digest(content)), data=content[have:], headers={"Content-Range": f"{have}-{len(content) - 1}"}).status_code == 201
    assert s.get(f"/v2/{name}/blobs/{make.digest(content)}").content == content


def basic(daemon):
    return "Basic " + base64.b64encode(f"{daemon.user}:{daemon.password}".encode()).decode()


def test_one_request_at_a_time(daemon, name):
    s, location = daemon.http(), begin(daemon.http(), name)
    with socket.create_connection(("127.0.0.1", daemon.port)) as c:
        c.sendall(f"PATCH {location} HTTP/1.1\r\nHost: {daemon.host}\r\nAuthorization: {basic(daemon)}\r\nContent-Length: 10\r\n\r\n01234".encode())
        wait_for(lambda: s.patch(location, data=b"").status_code == 409, 10, "a conflict")
        assert s.get(location).status_code == 204
        c.sendall(b"56789")
        assert b" 202 " in c.recv(1000)
    assert s.put(join(location, make.digest(b"0123456789"))).status_code == 201


def test_many_pushes_at_once(daemon, name):
    images = [make.Image({"f": os.urandom(20_000)}) for _ in range(16)]
    failures = []

    def push(i):
        try:
            s = daemon.http()
            for repo in (name, f"{name}/{i % 4}"):
                make.push_image(s, repo, f"t{i}", images[i])
                make.push_image(s, repo, "same", images[i])
        except BaseException as e:
            failures.append(repr(e))

    threads = [threading.Thread(target=push, args=(i,)) for i in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures[:3]
    s = daemon.http()
    assert s.get(f"/v2/{name}/tags/list").json()["tags"] == sorted([f"t{i}" for i in range(16)] + ["same"])
    for i, image in enumerate(images):
        assert s.get(f"/v2/{name}/manifests/t{i}").content == image.manifest
        assert s.get(f"/v2/{name}/blobs/{make.digest(image.layers[0])}").content == image.layers[0]
    assert s.get(f"/v2/{name}/manifests/same").content in [i.manifest for i in images]


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_upload_goes_on_after_a_restart(how):
    content = os.urandom(1 << 20) * 300
    with running(mount=False) as d:
        s = d.http()
        location = begin(s, "team/app")
        sent = 270 << 20
        r = s.patch(location, data=content[:sent])
        assert r.status_code == 202 and r.headers["Range"] == f"0-{sent - 1}"
        d.kill9() if how == "kill9" else d.stop()
        d.start()
        s = d.http()
        r = s.get(location)
        assert r.status_code == 204, r.text
        have = int(r.headers["Range"].split("-")[1]) + 1
        assert have == (sent if how == "stop" else 256 << 20)
        digest = make.digest(content)
        assert s.put(join(location, digest), data=content[have:], headers={"Content-Range": f"{have}-{len(content) - 1}"}).status_code == 201
        h = hashlib.sha256()
        with s.get(f"/v2/team/app/blobs/{digest}", stream=True) as r:
            for piece in r.iter_content(1 << 20):
                h.update(piece)
        assert "sha256:" + h.hexdigest() == digest


def test_stream_cut_by_kill9_goes_on():
    """In the middle of one long PATCH: whole parts of 256 MiB are there."""
    piece = os.urandom(1 << 20)
    with running(mount=False) as d:
        s = d.http()
        location = begin(s, "team/app")

        def pieces():
            for i in range(300):
                if i == 290:
                    time.sleep(1)
                    d.kill9()
                yield piece

        with pytest.raises(Exception):
            s.patch(location, data=pieces()).raise_for_status()
        d.start()
        s = d.http()
        have = int(s.get(location).headers["Range"].split("-")[1]) + 1
        assert 256 << 20 <= have <= 290 << 20
        content = piece * 300
        assert s.put(join(location, make.digest(content)), data=content[have:], headers={"Content-Range": f"{have}-{len(content) - 1}"}).status_code == 201


def test_acknowledged_manifests_survive_kill9():
    images = [make.Image() for _ in range(5)]
    with running(mount=False) as d:
        s = d.http()
        for i, image in enumerate(images):
            make.push_image(s, "team/app", f"t{i}", image)
        d.kill9()
        d.start()
        s = d.http()
        assert s.get("/v2/_catalog").json() == {"repositories": ["team/app"]}
        for i, image in enumerate(images):
            assert s.get(f"/v2/team/app/manifests/t{i}").content == image.manifest
            assert s.get(f"/v2/team/app/blobs/{make.digest(image.layers[0])}").content == image.layers[0]


def test_push_onto_a_full_disk(monkeypatch):
    """Refused as such, nothing half there; deletes and pulls go on; with space it goes through."""
    disk = pathlib.Path(tempfile.mkdtemp(prefix="infrafs-disk-"))
    try:
        run("mount", "-t", "tmpfs", "-o", "size=300m", "infrafs-test", disk)
        monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix="": str(disk))
        with running() as d:
            s, image, content = d.http(), make.Image(), os.urandom(1 << 20) * 400
            make.push_image(s, "team/app", "1.0", image)
            for length in (str(len(content)), None):
                location = begin(s, "team/app")
                body = content if length else (content[i:i + (1 << 20)] for i in range(0, len(content), 1 << 20))
                try:
                    r = s.patch(location, data=body)
                    assert r.status_code == 507 and r.json()["errors"][0]["message"], r.text
                except requests.ConnectionError:
                    pass  # so much was left to send that the connection was closed
                assert s.put(join(location, make.digest(content))).status_code in (400, 404, 507)
                s.delete(location)
            assert s.head(f"/v2/team/app/blobs/{make.digest(content)}").status_code == 404
            assert s.get("/v2/team/app/manifests/1.0").content == image.manifest
            assert (d.mount / "images" / "team" / "app" / "1.0" / "manifest.json").read_bytes() == image.manifest
            assert s.delete("/v2/team/app/manifests/1.0").status_code == 202

            def again():
                return make.push_image(d.http(), "team/app", "1.1", make.Image())
            wait_for(again, 20, "a push after the large ones were dropped")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        with contextlib.suppress(OSError):
            disk.rmdir()


def test_many_tags_of_one_manifest_at_once(daemon, name):
    """All of them change one row; who loses goes on until it wins."""
    image = make.Image()
    make.push_image(daemon.http(), name, "first", image)
    results = []

    def push(i):
        s = daemon.http()
        results.extend(put_manifest(s, name, f"t{i}-{k}", image.manifest).status_code for k in range(5))
    threads = [threading.Thread(target=push, args=(i,)) for i in range(48)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [201] * 240
    assert len(daemon.http().get(f"/v2/{name}/tags/list").json()["tags"]) == 241
