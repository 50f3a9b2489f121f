"""A real Docker registry taken over: its data folder, or while it runs."""
import json
import os
import signal
import subprocess

import make
import requests
from conftest import free_port, need, program, run, running, wait_for

INDEX = "application/vnd.oci.image.index.v1+json"


def fill(url, auth=None):
    class Session(requests.Session):
        def request(self, method, path, **k):
            return super().request(method, url + path if path.startswith("/") else path, timeout=30, **k)
    s = Session()
    s.trust_env = False
    s.auth = auth
    a, b = make.Image({"a": os.urandom(3_000_000)}), make.Image({"b": b"b"}, {"c": b"c"})
    make.push_image(s, "team/app", "1.0", a)
    make.push_image(s, "team/app", "latest", a)
    make.push_image(s, "team/app/sub", "x", a)
    make.push_image(s, "solo", "1.0", b)
    make.push_image(s, "solo", b.digest, b)
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": make.OCI_MANIFEST, "digest": b.digest, "size": len(b.manifest), "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()
    s.put("/v2/solo/manifests/multi", data=index, headers={"Content-Type": INDEX}).raise_for_status()
    gone = make.Image()
    make.push_image(s, "solo", "gone", gone)
    s.delete(f"/v2/solo/manifests/{gone.digest}").raise_for_status()
    return a, b, index, gone


def test_import(tmp_path):
    tool = need("docker-registry")
    port = free_port()
    (tmp_path / "config.yml").write_text(f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {tmp_path}/old}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
""")
    old = subprocess.Popen([tool, "serve", str(tmp_path / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/v2/", timeout=5).status_code == 200)
        a, b, index, gone = fill(f"http://127.0.0.1:{port}")
    finally:
        old.send_signal(signal.SIGTERM)
        old.wait(60)
    with running(mount=False) as d:
        def take_over(source, ok=True):
            return run(program(), "import", "registry", source, "--address", d.url, "--data", d.data, ok=ok, env=dict(os.environ, INFRAFS_TOKEN=d.root_token))
        said = take_over(tmp_path / "old").text
        assert "3 repositories: 4 manifests, 5 tags and 5 blobs imported, 0 were there, 0 failed" in said, said
        s = d.http()
        assert s.get("/v2/_catalog").json()["repositories"] == ["solo", "team/app", "team/app/sub"]
        for repo, ref, content in [("team/app", "1.0", a.manifest), ("team/app", "latest", a.manifest), ("team/app/sub", "x", a.manifest),
                                   ("solo", "1.0", b.manifest), ("solo", "multi", index)]:
            assert s.get(f"/v2/{repo}/manifests/{ref}").content == content
        assert s.get(f"/v2/team/app/sub/blobs/{make.digest(a.layers[0])}").content == a.layers[0]
        assert s.get(f"/v2/solo/manifests/{gone.digest}").status_code == 404
        assert "0 manifests, 5 tags and 0 blobs imported, 4 were there" in take_over(tmp_path / "old" / "docker" / "registry" / "v2").text
        # a blob that is not there: the rest is taken over, and it is said
        blob = tmp_path / "old/docker/registry/v2/blobs/sha256" / make.digest(b.layers[0])[7:9] / make.digest(b.layers[0])[7:] / "data"
        blob.unlink()
        s.delete(f"/v2/solo/manifests/{b.digest}").raise_for_status()
        s.delete(f"/v2/solo/blobs/{make.digest(b.layers[0])}")
        r = take_over(tmp_path / "old", ok=False)
        assert r.returncode == 65 and str(blob) in r.text, r.text
        assert take_over("/nowhere", ok=False).returncode == 66
        assert take_over("ftp://registry.example", ok=False).returncode == 64


def sync(d, url, ok=True, **environment):
    return run(program(), "import", "registry", url, "--address", d.url, "--data", d.data, ok=ok, env=dict(os.environ, INFRAFS_TOKEN=d.root_token, **environment))


def test_import_from_a_registry_that_runs(tmp_path):
    tool, htpasswd = need("docker-registry"), need("htpasswd")
    port = free_port()
    (tmp_path / "htpasswd").write_text(run(htpasswd, "-nbB", "old", "s3cret").text.strip() + "\n")
    (tmp_path / "config.yml").write_text(f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {tmp_path}/old}}, delete: {{enabled: true}}}}
auth: {{htpasswd: {{realm: old, path: {tmp_path}/htpasswd}}}}
http: {{addr: "127.0.0.1:{port}"}}
""")
    url = f"http://127.0.0.1:{port}"
    old = subprocess.Popen([tool, "serve", str(tmp_path / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: requests.get(f"{url}/v2/", timeout=5).status_code == 401)
        a, b, index, _ = fill(url, ("old", "s3cret"))
        with running(mount=False) as d:
            assert sync(d, url, ok=False).returncode == 77
            assert sync(d, url, ok=False, SOURCE_USER="old", SOURCE_PASSWORD="wrong").returncode != 0
            login = {"SOURCE_USER": "old", "SOURCE_PASSWORD": "s3cret"}
            said = sync(d, url + "/", **login).text
            assert "3 repositories: 4 manifests, 5 tags and 5 blobs imported, 0 were there, 0 failed" in said, said
            s = d.http()
            for repo, ref, content in [("team/app", "1.0", a.manifest), ("team/app/sub", "x", a.manifest), ("solo", "1.0", b.manifest), ("solo", "multi", index)]:
                assert s.get(f"/v2/{repo}/manifests/{ref}").content == content
            assert s.get(f"/v2/team/app/blobs/{make.digest(a.layers[0])}").content == a.layers[0]
            assert "0 manifests, 5 tags and 0 blobs imported" in sync(d, url, **login).text  # again: nothing to do
    finally:
        old.send_signal(signal.SIGTERM)
        old.wait(60)
    assert b"s3cret" not in (tmp_path / "config.yml").read_bytes()


def test_import_by_token_with_what_refers_to_an_image():
    """From one of ours, which gives tokens: pages, referrers of referrers, untagged images of an index."""
    with running(mount=False, config="images: {auth: bearer}\n") as old, running(mount=False) as d:
        s, image = old.http(), make.Image()
        make.push_image(s, "app", "1", image)
        subject, refers = image, []
        for i in range(2):  # a signature, and something about the signature
            r = make.Image()
            manifest = json.loads(r.manifest)
            manifest["subject"] = {"mediaType": make.OCI_MANIFEST, "digest": subject.digest, "size": len(subject.manifest)}
            r.manifest = json.dumps(manifest).encode()
            r.digest = make.digest(r.manifest)
            make.push_image(s, "app", r.digest, r)
            subject = r
            refers.append(r)
        for i in range(30):
            make.push_image(s, f"many/r{i:02}", "latest", image)
        assert "0 repositories" in sync(d, old.url).text  # nobody in particular sees none
        said = sync(d, old.url, SOURCE_USER=old.user, SOURCE_PASSWORD=old.password).text
        assert "31 repositories: 33 manifests, 31 tags" in said and "0 failed" in said, said
        t = d.http()
        for of, r in zip([image, refers[0]], refers):
            assert [m["digest"] for m in t.get(f"/v2/app/referrers/{of.digest}").json()["manifests"]] == [r.digest]
            assert t.get(f"/v2/app/manifests/{r.digest}").content == r.manifest
        assert t.get("/v2/_catalog").json() == s.get("/v2/_catalog").json()


def test_export_as_image_layouts(tmp_path):
    """Out into a folder that skopeo reads, and what refers to an image with it; again: nothing to do."""
    skopeo = need("skopeo")
    with running(mount=False) as d:
        s, image, second = d.http(), make.Image({"a": os.urandom(1_000_000)}), make.Image()
        make.push_image(s, "team/app", "1.0", image)
        make.push_image(s, "team/app/sub", "x", image)
        make.push_image(s, "solo", "2", second)
        signature = make.Image()
        manifest = json.loads(signature.manifest)
        manifest["subject"] = {"mediaType": make.OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}
        signature.manifest = json.dumps(manifest).encode()
        signature.digest = make.digest(signature.manifest)
        make.push_image(s, "team/app", signature.digest, signature)

        def export(ok=True):
            return run(program(), "export", "registry", tmp_path / "out", "--address", d.url, "--data", d.data, ok=ok, env=dict(os.environ, INFRAFS_TOKEN=d.root_token))
        said = export().text
        assert "3 repositories:" in said and "0 failed" in said, said
        out = tmp_path / "out"
        for repo, tag, i in [("team/app", "1.0", image), ("team/app/sub", "x", image), ("solo", "2", second)]:
            run(skopeo, "copy", f"oci:{out}/{repo}:{tag}", f"dir:{tmp_path}/{tag}")
            assert json.loads((tmp_path / tag / "manifest.json").read_bytes()) == json.loads(i.manifest)
        layer = make.digest(image.layers[0])[7:]
        assert (out / "team/app/blobs/sha256" / layer).read_bytes() == image.layers[0]
        assert (out / "team/app/blobs/sha256" / layer).stat().st_nlink == 2  # once for both repositories
        listed = json.loads((out / "team/app/index.json").read_bytes())["manifests"]
        assert [(m["digest"], m.get("annotations", {}).get("org.opencontainers.image.ref.name")) for m in listed] == [(image.digest, "1.0"), (signature.digest, None)]
        assert " 0 files exported" in export().text
        damaged = out / "team/app/blobs/sha256" / layer
        damaged.unlink()
        assert " 0 failed" in export().text and damaged.read_bytes() == image.layers[0]
