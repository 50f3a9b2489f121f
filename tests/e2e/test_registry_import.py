"""The data folder of a real Docker registry, taken over."""
import json
import os
import signal
import subprocess

import make
import requests
from conftest import free_port, need, program, run, running, wait_for

INDEX = "application/vnd.oci.image.index.v1+json"


def fill(url):
    class Session(requests.Session):
        def request(self, method, path, **k):
            return super().request(method, url + path if path.startswith("/") else path, timeout=30, **k)
    s = Session()
    s.trust_env = False
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
        old.wait(20)
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
        r = take_over("https://registry.example", ok=False)
        assert r.returncode == 64 and "skopeo sync" in r.text
