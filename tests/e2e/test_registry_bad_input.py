"""What a client may get wrong, as one table: each is refused with a reason in the registry's form, none is a 500."""
import hashlib
import json

import make
import pytest
import requests

ZERO = "sha256:" + "0" * 64
BAD_NAMES = ["App", "a//b", "-a", "a-", "a..b", "a/-b", "a___b", "a" * 256, "ä", "a b", "a%00b", "_a", "a.", "a/", "a@b"]
BAD_TAGS = ["-x", ".x", "x" * 129, "x:y:z", "x y", "é", "x/y/", "%0a"]
BAD_DIGESTS = ["sha256:", "sha256:xyz", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "sha512:" + "0" * 64, "md5:" + "0" * 32,
               ":", "sha256", "sha256:" + "0" * 64 + "/x", "SHA256:" + "0" * 64]


def refused(r, status, codes):
    assert r.status_code in status, (r.status_code, r.text[:300])
    if r.request.method != "HEAD":
        e = r.json()["errors"][0]
        assert e["code"] in codes and e["message"], e


@pytest.fixture(scope="module")
def session(daemon):
    s = daemon.http()
    s.image = make.Image()
    make.push_image(s, "bad/app", "1.0", s.image)
    return s


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_names(session, bad):
    for method, path in [("GET", "manifests/1.0"), ("PUT", "manifests/1.0"), ("GET", f"blobs/{ZERO}"), ("POST", "blobs/uploads/"), ("GET", "tags/list"), ("GET", f"referrers/{ZERO}")]:
        r = session.request(method, f"/v2/{bad}/{path}", data=session.image.manifest if method == "PUT" else None, headers={"Content-Type": make.OCI_MANIFEST})
        assert r.status_code in (400, 404), (method, path, r.status_code, r.text[:200])
    assert bad not in session.get("/v2/_catalog").json()["repositories"]


@pytest.mark.parametrize("bad", BAD_TAGS)
def test_tags(session, bad):
    r = session.put(f"/v2/bad/app/manifests/{bad}", data=session.image.manifest, headers={"Content-Type": make.OCI_MANIFEST})
    assert r.status_code in (400, 404), (r.status_code, r.text[:200])
    assert session.get(f"/v2/bad/app/manifests/{bad}").status_code in (400, 404)
    r = session.put(f"/v2/bad/app/manifests/{session.image.digest}", params={"tag": bad}, data=session.image.manifest, headers={"Content-Type": make.OCI_MANIFEST})
    assert r.status_code == 400 or bad == "%0a" and r.status_code == 400, r.text
    assert session.get("/v2/bad/app/tags/list").json()["tags"] == ["1.0"]


@pytest.mark.parametrize("bad", BAD_DIGESTS)
def test_digests(session, bad):
    for method, path in [("GET", f"blobs/{bad}"), ("HEAD", f"blobs/{bad}"), ("DELETE", f"blobs/{bad}"), ("GET", f"referrers/{bad}"), ("POST", f"blobs/uploads/?digest={bad}")]:
        r = session.request(method, f"/v2/bad/app/{path}", data=b"x" if method == "POST" else None)
        assert r.status_code in (400, 404), (method, path, r.status_code, r.text[:200])
    r = session.get(f"/v2/bad/app/manifests/{bad}")
    assert r.status_code in (400, 404), r.text
    location = session.post("/v2/bad/app/blobs/uploads/").headers["Location"]
    refused(session.put(location, params={"digest": bad}, data=b"x"), (400,), ("DIGEST_INVALID",))
    assert session.get(location).status_code == 204  # the session is intact
    assert session.delete(location).status_code == 204
    assert session.post(f"/v2/bad/app/blobs/uploads/?mount={bad}&from=bad/app").status_code == 202  # never an error


def descriptor(content, kind=make.OCI_LAYER, **more):
    return {"mediaType": kind, "digest": make.digest(content), "size": len(content), **more}


def manifests(image):
    good = json.loads(image.manifest)
    config, layer = good["config"], good["layers"][0]
    index = "application/vnd.oci.image.index.v1+json"
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    yield "no JSON", b"{", make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "empty", b"", make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "a list", b"[]", make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "a number", b"7", make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "no UTF-8", b'{"schemaVersion":2,"a":"\xff"}', make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "deep", b"[" * 100_000, make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "schema 1", dict(good, schemaVersion=1), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "no schema", {k: v for k, v in good.items() if k != "schemaVersion"}, make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "another type in it", good, docker, "MANIFEST_INVALID"
    yield "of an index", good, index, "MANIFEST_INVALID"
    yield "index with layers", {"schemaVersion": 2, "mediaType": index, "layers": [layer]}, make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "both", dict(good, manifests=[]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "no type", dict(good, mediaType=7), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "layers no list", dict(good, layers={}), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "layer no map", dict(good, layers=[7]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "layer without digest", dict(good, layers=[{"mediaType": make.OCI_LAYER, "size": 1}]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "bad digest", dict(good, layers=[dict(layer, digest="sha256:1")]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "negative size", dict(good, layers=[dict(layer, size=-1)]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "size no number", dict(good, layers=[dict(layer, size="1")]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "wrong size", dict(good, layers=[dict(layer, size=layer["size"] + 1)]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "missing layer", dict(good, layers=[descriptor(b"not here")]), make.OCI_MANIFEST, "MANIFEST_BLOB_UNKNOWN"
    yield "missing config", dict(good, config=dict(config, digest=ZERO)), make.OCI_MANIFEST, "MANIFEST_BLOB_UNKNOWN"
    yield "bad subject", dict(good, subject={"digest": "x"}), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "annotations no map", dict(good, annotations=[]), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "10,001 layers", dict(good, layers=[layer] * 10_001), make.OCI_MANIFEST, "MANIFEST_INVALID"
    yield "over 4 MiB", dict(good, annotations={"a": "x" * (4 << 20)}), make.OCI_MANIFEST, "MANIFEST_INVALID"


def test_manifests(session):
    for what, content, kind, code in manifests(session.image):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        r = session.put("/v2/bad/app/manifests/2.0", data=body, headers={"Content-Type": kind})
        assert r.status_code in (400, 413), (what, r.status_code, r.text[:300])
        assert r.json()["errors"][0]["code"] == code, (what, r.text[:300])
        assert r.status_code == 413 or what != "over 4 MiB"
        r = session.put(f"/v2/bad/app/manifests/{ZERO}", data=body, headers={"Content-Type": kind})
        assert r.status_code in (400, 413), (what, r.status_code)
    assert session.get("/v2/bad/app/manifests/2.0").status_code == 404
    # what looks odd and is allowed
    good = json.loads(session.image.manifest)
    for what, content in [("no layers", dict(good, layers=[])), ("unknown fields", dict(good, more={"x": [1]})), ("the same layer twice", dict(good, layers=good["layers"] * 2)),
                          ("a subject that is not here", dict(good, subject={"mediaType": make.OCI_MANIFEST, "digest": ZERO, "size": 7})),
                          ("a foreign layer", dict(good, layers=[descriptor(b"elsewhere", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://x"])]))]:
        r = session.put("/v2/bad/odd/manifests/x", data=json.dumps(content), headers={"Content-Type": make.OCI_MANIFEST})
        if r.status_code == 400 and "not in 'bad/odd'" in r.text:
            for blob in [session.image.config, *session.image.layers]:
                make.push_blob(session, "bad/odd", blob)
            r = session.put("/v2/bad/odd/manifests/x", data=json.dumps(content), headers={"Content-Type": make.OCI_MANIFEST})
        assert r.status_code == 201, (what, r.text)


@pytest.mark.parametrize("value, status", [
    ("0-9", 202), ("bytes 0-9/10", 202), ("5-14", 416), ("1-10", 416), ("0-8", 400), ("9-0", 400), ("0-", 400), ("-9", 400), ("x", 400), ("0-9-", 400),
    ("18446744073709551615-18446744073709551616", 400), ("0-18446744073709551615", 400), ("0 - 9", 400)])
def test_chunks(session, value, status):
    location = session.post("/v2/bad/app/blobs/uploads/").headers["Location"]
    r = session.patch(location, data=b"0123456789", headers={"Content-Range": value})
    assert r.status_code == status, (r.status_code, r.text)
    if status == 416:
        assert r.headers["Range"] == "0-0" and r.headers["Location"]
    if status != 202:  # intact
        r = session.patch(location, data=b"0123456789", headers={"Content-Range": "0-9"})
        assert r.status_code == 202, r.text
    assert r.headers["Range"] == "0-9"
    refused(session.put(location, params={"digest": make.digest(b"other")}), (400,), ("DIGEST_INVALID",))
    assert session.put(location, params={"digest": make.digest(b"0123456789")}).status_code == 201


@pytest.mark.parametrize("value, status", [("bytes=0-0", 206), ("bytes=-1", 206), ("bytes=0-", 206), ("bytes=99999999-", 416), ("bytes=-0", 416), ("bytes=9-1", 416),
                                           ("bytes=x", 416), ("bytes=a-b", 416), ("bytes=", 416), ("lines=0-1", 200), ("bytes=0-1,4-5", 200), ("bytes=18446744073709551616-", 416)])
def test_ranges(session, value, status):
    blob = session.image.layers[0]
    r = session.get(f"/v2/bad/app/blobs/{make.digest(blob)}", headers={"Range": value})
    assert r.status_code == status, r.status_code
    if r.status_code == 416:
        assert r.headers["Content-Range"] == f"bytes */{len(blob)}"


@pytest.mark.parametrize("n", ["0", "1", "9999999", "4294967295", "4294967296", "99999999999999999999999", "-1", "x", "", "1.5", "0x10"])
def test_pages(session, n):
    for path in ("/v2/bad/app/tags/list", "/v2/_catalog"):
        r = session.get(path, params={"n": n})
        assert r.status_code in (200, 400), (path, r.text)
        assert r.status_code == (200 if n.isdigit() else 400) and (r.status_code == 200 or r.json()["errors"][0]["code"])
    assert session.get("/v2/bad/app/tags/list", params={"last": "x" * 100_000}).status_code in (400, 414, 431)
    assert session.get("/v2/bad/app/tags/list", params={"last": "\x01é%"}).status_code == 200


def test_somebody_elses_upload(daemon, session):
    daemon.add_user("mallory", "her own password")
    other = daemon.http()
    other.auth = ("mallory", "her own password")
    location = session.post("/v2/bad/app/blobs/uploads/").headers["Location"]
    session.patch(location, data=b"mine").raise_for_status()
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        r = other.request(method, location, data=b"x" if method != "GET" else None, params={"digest": make.digest(b"minex")} if method == "PUT" else None)
        refused(r, (404,), ("BLOB_UPLOAD_UNKNOWN",))
    assert requests.get(daemon.url + location, timeout=60).status_code == 401
    moved = location.replace("/bad/app/", "/bad/other/")
    refused(session.patch(moved, data=b"x"), (404,), ("BLOB_UPLOAD_UNKNOWN",))
    assert session.get(location).headers["Range"] == "0-3"
    for bad in ("0" * 32, "x", "0" * 31, "0" * 33, "..%2f", "é"):
        assert session.patch(f"/v2/bad/app/blobs/uploads/{bad}", data=b"x").status_code in (400, 404), bad
    sha512 = "sha512:" + hashlib.sha512(b"mine").hexdigest()
    assert session.put(location, params={"digest": sha512}).status_code == 201
    for bad in ("md5", "SHA256", "", "sha256 "):
        refused(session.post("/v2/bad/app/blobs/uploads/", params={"digest-algorithm": bad}), (400,), ("DIGEST_INVALID",))
