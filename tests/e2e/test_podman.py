"""podman, with a store of its own."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import make
import pytest
from conftest import need, run


@pytest.fixture
def podman():
    tool = need("podman")
    base = pathlib.Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))  # podman wants a short path
    (base / "auth.json").write_text("{}")
    environment = dict(os.environ, HOME=str(base), XDG_RUNTIME_DIR=str(base), REGISTRY_AUTH_FILE=str(base / "auth.json"))

    def call(*arguments, ok=True, **k):
        return run(tool, "--root", base / "root", "--runroot", base / "run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
                   *arguments, ok=ok, env=environment, cwd=base, **k)
    r = call("images", ok=False)
    if r.returncode != 0:
        if os.environ.get("INFRAFS_NO_SKIP"):
            pytest.fail("podman does not run here: " + r.text)
        pytest.skip("podman does not run here: " + r.text[-300:])
    yield call
    for line in reversed(open("/proc/mounts").read().splitlines()):
        if str(base) in line.split()[1]:
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(base, ignore_errors=True)


def test_login_push_pull(podman, daemon, name, tmp_path):
    image = make.Image({"hello": os.urandom(30_000)})
    image.layout(tmp_path / "in")
    assert "Login Succeeded" in podman("login", "--tls-verify=false", "-u", daemon.user, "--password-stdin", daemon.host, input=daemon.password.encode()).text
    podman("pull", f"oci:{tmp_path}/in:latest")
    image_id = podman("images", "-q", "--no-trunc").text.strip()
    podman("tag", image_id, f"{daemon.host}/team/{name}:1")
    podman("push", "--tls-verify=false", f"{daemon.host}/team/{name}:1")
    podman("rmi", "-af")
    podman("pull", "--tls-verify=false", f"{daemon.host}/team/{name}:1")
    assert podman("images", "-q", "--no-trunc").text.strip() == image_id
    assert (daemon.mount / "images" / "team" / name / "1" / "config.json").read_bytes() == image.config


def test_refused_without_login(podman, daemon, name):
    make.push_image(daemon.http(), name, "1", make.Image())
    r = podman("pull", "--tls-verify=false", f"{daemon.host}/{name}:1", ok=False)
    assert r.returncode != 0 and "unauthorized" in r.text.lower() or "authentication required" in r.text.lower(), r.text
