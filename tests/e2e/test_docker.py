"""A real dockerd of our own: login, push, pull, and what it says when it may not."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import make
import pytest
from conftest import need, run, running, wait_for
from test_registry_mirror import Upstream


class Docker:
    def __init__(self, client, server):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="infrafs-docker-"))
        self.client, self.server = client, server
        self.socket = f"unix://{self.base}/docker.sock"
        self.environment = dict(os.environ, DOCKER_CONFIG=str(self.base / "config"), DOCKER_HOST=self.socket)
        (self.base / "daemon.json").write_text("{}")

    def start(self):
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.server, "--config-file", str(self.base / "daemon.json"), "--data-root", str(self.base / "data"), "--exec-root", str(self.base / "exec"),
                 "--pidfile", str(self.base / "pid"), "-H", self.socket, "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false",
                 "--bridge=none"], stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(lambda: self.process.poll() is not None or self("version", ok=False).returncode == 0, 60, "dockerd")
        finally:
            if self.process.poll() is not None:
                text = (self.base / "log").read_text(errors="replace")[-2000:]
                if os.environ.get("INFRAFS_NO_SKIP"):
                    pytest.fail("dockerd does not start here: " + text)
                pytest.skip("dockerd does not start here: " + text)

    def __call__(self, *arguments, ok=True, **k):
        return run(self.client, *arguments, ok=ok, env=self.environment, **k)

    def mirror(self, url):
        """Takes pulls of docker.io there; None: nowhere."""
        (self.base / "daemon.json").write_text(json.dumps({"registry-mirrors": [url] if url else []}))
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: (url or "[]") in self("info", "--format", "{{json .RegistryConfig.Mirrors}}").text.replace("null", "[]"), 20, "the mirror")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        for line in reversed(pathlib.Path("/proc/mounts").read_text().splitlines()):
            if str(self.base) in line.split()[1]:
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.base, ignore_errors=True)


@pytest.fixture(scope="module")
def docker():
    d = Docker(*need("docker", "dockerd"))
    d.start()
    yield d
    d.stop()


@pytest.fixture
def image(docker, tmp_path):
    """An image that only this test has, by `docker import`."""
    (tmp_path / "root.tar").write_bytes(make.tar({"hello": os.urandom(20_000), "etc/motd": b"hi\n"}))
    name = "local/" + os.urandom(4).hex()
    docker("import", "--change", 'CMD ["/hello"]', tmp_path / "root.tar", name)
    yield name
    docker("rmi", "-f", name, ok=False)


def login(docker, daemon):
    assert "Login Succeeded" in docker("login", "-u", daemon.user, "--password-stdin", daemon.host, input=daemon.password.encode()).text


def image_id(docker, name):
    return docker("image", "inspect", "--format", "{{.Id}}", name).text.strip()


def test_push_and_pull(docker, daemon, image, name):
    login(docker, daemon)
    remote = f"{daemon.host}/team/{name}:1.0"
    before = image_id(docker, image)
    docker("tag", image, remote)
    docker("push", remote)
    docker("rmi", "-f", remote, image)
    assert docker("image", "inspect", remote, ok=False).returncode != 0
    docker("pull", remote)
    assert image_id(docker, remote) == before
    folder = daemon.mount / "images" / "team" / name / "1.0"
    assert sorted(os.listdir(folder)) == ["config.json", "layers", "manifest.json", "referrers", "rootfs", "size"]
    assert "etc/motd" in run("tar", "-tzf", next((folder / "layers").iterdir())).text
    digest = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", remote).text.strip()
    docker("rmi", "-f", remote)
    docker("pull", digest)
    assert image_id(docker, digest) == before
    docker("rmi", "-f", digest)


def test_layers_are_mounted_from_another_repository(docker, daemon, image, name):
    login(docker, daemon)
    for repo in ("a", "b"):
        docker("tag", image, f"{daemon.host}/{name}/{repo}:1")
    docker("push", f"{daemon.host}/{name}/a:1")
    out = docker("push", f"{daemon.host}/{name}/b:1").text
    assert "Mounted from" in out or "already exists" in out, out
    for repo in ("a", "b"):
        docker("rmi", "-f", f"{daemon.host}/{name}/{repo}:1")


def test_retagged_in_the_mount(docker, daemon, image, name):
    login(docker, daemon)
    docker("tag", image, f"{daemon.host}/{name}:1.0")
    docker("push", f"{daemon.host}/{name}:1.0")
    run("ln", "-sfn", "1.0", daemon.mount / "images" / name / "stable")
    docker("pull", f"{daemon.host}/{name}:stable")
    assert image_id(docker, f"{daemon.host}/{name}:stable") == image_id(docker, image)
    for tag in ("1.0", "stable"):
        docker("rmi", "-f", f"{daemon.host}/{name}:{tag}")


def test_refusals(docker, daemon, image, name):
    r = docker("login", "-u", daemon.user, "--password-stdin", daemon.host, input=b"wrong", ok=False)
    assert r.returncode != 0 and "unauthorized" in r.text.lower(), r.text
    docker("logout", daemon.host, ok=False)
    docker("tag", image, f"{daemon.host}/{name}:1")
    r = docker("push", f"{daemon.host}/{name}:1", ok=False)
    assert r.returncode != 0, r.text
    docker("rmi", "-f", f"{daemon.host}/{name}:1")
    login(docker, daemon)
    r = docker("pull", f"{daemon.host}/{name}:none", ok=False)
    assert r.returncode != 0 and "not found" in r.text.lower(), r.text


def test_run_with_an_environment(docker, daemon, name, tmp_path):
    """`docker run --env-file` of a secret, and its folder mounted into the container."""
    values = {"URL": "postgres://u:p'\"@h/db?a=b&c=$d", "TWO": "two words"}
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": values}).raise_for_status()
    busybox = pathlib.Path(need("busybox")).read_bytes()
    (tmp_path / "root.tar").write_bytes(make.tar({f"bin/{tool}": busybox for tool in ("env", "cat")}, mode=0o755))
    docker("import", tmp_path / "root.tar", f"local/{name}")
    try:
        docker("create", "--name", name, "--network", "host", "--env-file", daemon.mount / name / "prod" / "@docker-env",
               "-v", f"{daemon.mount / name / 'prod'}:/run/secrets", f"local/{name}", "/bin/cat", "/run/secrets/URL")
        got = docker("container", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", name).text.splitlines()
        assert {f"{k}={v}" for k, v in values.items()} <= set(got)
        assert docker("start", "-a", name).text == values["URL"]
    finally:
        docker("rm", "-f", name, ok=False)
        docker("rmi", "-f", f"local/{name}", ok=False)


@pytest.mark.parametrize("auth", ["auto", "bearer"])
def test_registry_mirrors(docker, name, auth):
    """docker.io by way of us, as daemon.json says it: requests that do not name the registry, by nobody in particular."""
    upstream = Upstream()
    image = make.Image({"hello": os.urandom(20_000)})
    upstream.add(f"library/{name}", "1.0", image)
    more = f'images: {{auth: {auth}, mirrors: [{{prefix: docker.io, upstream: "{upstream.url}", default: true}}]}}\n'
    try:
        with running(mount=False, config=more) as d:
            d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": 'path "images/docker.io/*" { capabilities = ["read"] }'}).raise_for_status()
            docker.mirror(d.url)
            docker("pull", f"{name}:1.0")
            assert docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", f"{name}:1.0").text.strip() == f"{name}@{image.digest}"
            docker("rmi", f"{name}:1.0")
            assert d.http().get(f"/v2/docker.io/library/{name}/manifests/1.0").content == image.manifest
    finally:
        docker.mirror(None)
        upstream.shutdown()
        upstream.server_close()
