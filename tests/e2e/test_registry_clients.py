"""buildah and oras; docker without a login; and clients whose connection is cut in the middle."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import make
import pytest
from conftest import need, run, running
from test_docker import docker, image, image_id, login  # noqa: F401  (fixtures)


@pytest.fixture
def buildah():
    tool = need("buildah")
    base = pathlib.Path(tempfile.mkdtemp(prefix="buildah-", dir="/tmp"))
    environment = dict(os.environ, HOME=str(base), XDG_RUNTIME_DIR=str(base), REGISTRY_AUTH_FILE=str(base / "auth.json"))

    def call(*arguments, ok=True, **k):
        return run(tool, "--root", base / "root", "--runroot", base / "run", "--storage-driver", "vfs", *arguments, ok=ok, env=environment, cwd=base, **k)
    yield call
    for line in reversed(open("/proc/mounts").read().splitlines()):
        if str(base) in line.split()[1]:
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(base, ignore_errors=True)


def test_buildah(buildah, daemon, name, tmp_path):
    """Builds from what was pushed, pushes it, and an index of two platforms; then pulls one of them."""
    base = make.Image({"etc/base": os.urandom(10_000)})
    base.layout(tmp_path / "in")
    at = ["--tls-verify=false"]
    buildah("login", *at, "-u", daemon.user, "--password-stdin", daemon.host, input=daemon.password.encode())
    buildah("pull", f"oci:{tmp_path}/in:latest")
    make.push_image(daemon.http(), f"{name}/base", "1", base)
    made = {}
    for arch in ("amd64", "arm64"):
        container = buildah("from", *at, f"{daemon.host}/{name}/base:1").text.split()[-1]
        (tmp_path / arch).write_text(arch)
        buildah("copy", "-q", container, tmp_path / arch, "/etc/arch")
        buildah("config", "--arch", arch, container)
        buildah("commit", "-q", container, f"{name}:{arch}")
        made[arch] = f"{name}:{arch}"
        buildah("push", *at, made[arch], f"docker://{daemon.host}/{name}/app:{arch}")
    buildah("manifest", "create", "list")
    for arch in made:
        buildah("manifest", "add", *at, "--creds", f"{daemon.user}:{daemon.password}", "list", f"docker://{daemon.host}/{name}/app:{arch}")
    buildah("manifest", "push", "--all", *at, "list", f"docker://{daemon.host}/{name}/app:1.0")
    index = daemon.http().get(f"/v2/{name}/app/manifests/1.0").json()
    assert sorted(m["platform"]["architecture"] for m in index["manifests"]) == ["amd64", "arm64"]
    for arch in made:
        layers = sorted((daemon.mount / "images" / name / "app" / "1.0" / f"linux-{arch}" / "layers").iterdir())
        assert len(layers) == 2 and "etc/arch" in run("tar", "-tzf", layers[1]).text
    buildah("rmi", "-af", ok=False)
    buildah("pull", "-q", "--arch", "arm64", *at, f"docker://{daemon.host}/{name}/app:1.0")
    assert json.loads(buildah("inspect", "--type", "image", f"{daemon.host}/{name}/app:1.0").text)["OCIv1"]["architecture"] == "arm64"


def test_oras(daemon, name, tmp_path):
    """Artifacts, and what refers to them: with the referrers API and with the tag of old clients."""
    tool = need("oras")
    environment = dict(os.environ, HOME=str(tmp_path), DOCKER_CONFIG=str(tmp_path / "docker"))

    def oras(*arguments):
        return run(tool, *arguments, env=environment, cwd=tmp_path).text
    oras("login", "--plain-http", "-u", daemon.user, "-p", daemon.password, daemon.host)
    (tmp_path / "file.txt").write_bytes(os.urandom(100_000))
    (tmp_path / "sbom.json").write_text('{"a":1}')
    ref = f"{daemon.host}/{name}/artifact"
    oras("push", "--plain-http", "--artifact-type", "application/x.test", f"{ref}:1.0", "file.txt:text/plain")
    digest = re.search(r"sha256:[0-9a-f]{64}", oras("resolve", "--plain-http", f"{ref}:1.0")).group()
    oras("attach", "--plain-http", "--artifact-type", "application/x.sbom", f"{ref}:1.0", "sbom.json:application/json")
    oras("attach", "--plain-http", "--distribution-spec", "v1.1-referrers-tag", "--artifact-type", "application/x.sig", f"{ref}:1.0", "sbom.json:application/json")
    found = json.loads(oras("discover", "--plain-http", "--format", "json", f"{ref}:1.0"))
    kinds = sorted(m["artifactType"] for m in found.get("referrers", found.get("manifests")))
    assert kinds == ["application/x.sbom", "application/x.sig"]
    listed = daemon.http().get(f"/v2/{name}/artifact/referrers/{digest}?artifactType=application/x.sbom")
    assert listed.headers["OCI-Filters-Applied"] == "artifactType" and len(listed.json()["manifests"]) == 1
    oras("copy", "-r", "--from-plain-http", "--to-plain-http", f"{ref}:1.0", f"{daemon.host}/{name}/copy:1.0")
    assert len(daemon.http().get(f"/v2/{name}/copy/referrers/{digest}").json()["manifests"]) == 2
    (tmp_path / "out").mkdir()
    oras("pull", "--plain-http", "-o", tmp_path / "out", f"{daemon.host}/{name}/copy:1.0")
    assert (tmp_path / "out" / "file.txt").read_bytes() == (tmp_path / "file.txt").read_bytes()


class Cutter:
    """A proxy that cuts the first connection whose request matches, after so many bytes of its answer or body."""

    def __init__(self, port, pattern, after, of="answer"):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.port, self.pattern, self.after, self.of = port, pattern, after, of
        self.cuts, self.requests = 0, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.server.accept()[0]
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.port))
            state = {"matched": False, "seen": 0}
            for a, b, kind in ((client, there, "body"), (there, client, "answer")):
                threading.Thread(target=self.pump, args=(a, b, kind, state), daemon=True).start()

    def pump(self, a, b, kind, state):
        try:
            while data := a.recv(65536):
                if kind == "body" and re.match(rb"[A-Z]+ /", data):
                    self.requests.append(data.split(b"\r\n\r\n")[0].decode(errors="replace"))
                    state["matched"] = self.cuts == 0 and re.match(self.pattern, self.requests[-1]) is not None
                    state["seen"] = 0
                if state["matched"] and kind == self.of:
                    state["seen"] += len(data)
                    if state["seen"] > self.after:
                        self.cuts += 1
                        break
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.server.close()


def test_docker_resumes_a_cut_pull(docker, daemon, name, tmp_path):  # noqa: F811
    image = make.Image({"big": os.urandom(8_000_000)})
    make.push_image(daemon.http(), name, "1.0", image)
    proxy = Cutter(daemon.port, rf"GET /v2/{name}/blobs/{make.digest(image.layers[0])}", 3_000_000)
    run(docker.client, "login", "-u", daemon.user, "--password-stdin", proxy.host, env=docker.environment, input=daemon.password.encode())
    docker("pull", f"{proxy.host}/{name}:1.0", timeout=120)
    assert proxy.cuts == 1
    again = [r for r in proxy.requests if f"/blobs/{make.digest(image.layers[0])}" in r]
    assert len(again) == 2 and re.search(r"(?im)^range: bytes=\d{6,}-", again[1]), again
    docker("rmi", "-f", f"{proxy.host}/{name}:1.0")
    proxy.close()


def test_docker_pushes_through_a_cut(docker, daemon, image, name):  # noqa: F811
    proxy = Cutter(daemon.port, rf"PATCH /v2/{name}/", 10_000, of="body")
    run(docker.client, "login", "-u", daemon.user, "--password-stdin", proxy.host, env=docker.environment, input=daemon.password.encode())
    docker("tag", image, f"{proxy.host}/{name}:1.0")
    docker("push", f"{proxy.host}/{name}:1.0", timeout=120)
    assert proxy.cuts == 1 and daemon.http().head(f"/v2/{name}/manifests/1.0").status_code == 200
    docker("rmi", "-f", f"{proxy.host}/{name}:1.0")
    proxy.close()


def test_docker_pulls_without_a_login(docker, name):  # noqa: F811
    image = make.Image()
    with running(mount=False) as d:
        docker("logout", d.host, ok=False)
        make.push_image(d.http(), f"pub/{name}", "1.0", image)
        make.push_image(d.http(), f"own/{name}", "1.0", image)
        r = docker("pull", f"{d.host}/pub/{name}:1.0", ok=False)
        assert r.returncode != 0 and ("no basic auth credentials" in r.text or "unauthorized" in r.text), r.text
        d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": 'path "images/pub/*" { capabilities = ["read"] }'}).raise_for_status()
        docker("pull", f"{d.host}/pub/{name}:1.0")
        docker("rmi", "-f", f"{d.host}/pub/{name}:1.0")
        assert docker("pull", f"{d.host}/own/{name}:1.0", ok=False).returncode != 0
        login(docker, d)  # and with tokens a login still is one
        docker("pull", f"{d.host}/own/{name}:1.0")
        docker("tag", f"{d.host}/own/{name}:1.0", f"{d.host}/own/{name}:2.0")
        docker("push", f"{d.host}/own/{name}:2.0")
        docker("rmi", "-f", f"{d.host}/own/{name}:1.0", f"{d.host}/own/{name}:2.0")
        docker("logout", d.host)
