"""skopeo and crane, both ways; and the conformance suite of the OCI distribution-spec."""
import json
import os
import xml.etree.ElementTree as ElementTree

import make
import pytest
from conftest import need, run, running


@pytest.fixture
def skopeo(daemon):
    tool = need("skopeo")

    def call(*arguments, ok=True):
        return run(tool, *arguments, ok=ok)
    return call


def there(daemon):
    return ["--dest-tls-verify=false", "--dest-creds", f"{daemon.user}:{daemon.password}"]


def back(daemon):
    return ["--src-tls-verify=false", "--src-creds", f"{daemon.user}:{daemon.password}"]


def at(daemon):
    return ["--tls-verify=false", "--creds", f"{daemon.user}:{daemon.password}"]


def test_copy_there_and_back(daemon, name, skopeo, tmp_path):
    image = make.Image({"a": os.urandom(50_000)}, {"b": os.urandom(5_000_000)})
    image.layout(tmp_path / "in")
    skopeo("copy", *there(daemon), f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/team/{name}:1.0")
    skopeo("copy", *back(daemon), f"docker://{daemon.host}/team/{name}:1.0", f"dir:{tmp_path}/dir")
    assert (tmp_path / "dir" / "manifest.json").read_bytes() == image.manifest
    for blob in [image.config, *image.layers]:
        assert (tmp_path / "dir" / make.digest(blob)[7:]).read_bytes() == blob
    skopeo("copy", *there(daemon), f"dir:{tmp_path}/dir", f"docker://{daemon.host}/team/{name}:again")
    skopeo("copy", *back(daemon), f"docker://{daemon.host}/team/{name}@{image.digest}", f"oci:{tmp_path}/out:x")
    assert (tmp_path / "out" / "blobs" / "sha256" / image.digest[7:]).read_bytes() == image.manifest


def test_docker_schema_2(daemon, name, skopeo, tmp_path):
    make.Image().layout(tmp_path / "in")
    skopeo("copy", "--format", "v2s2", *there(daemon), f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/{name}:v2")
    r = daemon.http().get(f"/v2/{name}/manifests/v2")
    assert r.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json" == r.json()["mediaType"]


def test_inspect_list_delete(daemon, name, skopeo, tmp_path):
    image = make.Image()
    image.layout(tmp_path / "in")
    for tag in ("1.0", "1.1"):
        skopeo("copy", *there(daemon), f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/{name}:{tag}")
    assert json.loads(skopeo("list-tags", *at(daemon), f"docker://{daemon.host}/{name}").text)["Tags"] == ["1.0", "1.1"]
    about = json.loads(skopeo("inspect", *at(daemon), f"docker://{daemon.host}/{name}:1.0").text)
    assert about["Digest"] == image.digest and about["RepoTags"] == ["1.0", "1.1"] and about["Layers"] == [make.digest(b) for b in image.layers]
    skopeo("delete", *at(daemon), f"docker://{daemon.host}/{name}:1.0")
    assert daemon.http().get(f"/v2/{name}/tags/list").json()["tags"] == []


def test_between_repositories(daemon, name, skopeo, tmp_path):
    image = make.Image()
    image.layout(tmp_path / "in")
    skopeo("copy", *there(daemon), f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/{name}/a:1")
    skopeo("copy", *back(daemon), *there(daemon), f"docker://{daemon.host}/{name}/a:1", f"docker://{daemon.host}/{name}/b:1")
    s = daemon.http()
    assert s.get(f"/v2/{name}/b/manifests/1").content == image.manifest
    s.delete(f"/v2/{name}/a/manifests/{image.digest}")
    skopeo("copy", *back(daemon), f"docker://{daemon.host}/{name}/b:1", f"dir:{tmp_path}/dir")
    assert (tmp_path / "dir" / make.digest(image.layers[0])[7:]).read_bytes() == image.layers[0]


def test_wrong_password(daemon, name, skopeo, tmp_path):
    make.Image().layout(tmp_path / "in")
    for credentials in (["--dest-creds", f"{daemon.user}:wrong"], ["--dest-no-creds"]):
        r = skopeo("copy", "--dest-tls-verify=false", *credentials, f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/{name}:1", ok=False)
        assert r.returncode != 0 and ("unauthorized" in r.text.lower() or "authentication required" in r.text.lower() or "invalid username" in r.text.lower()), r.text
    assert daemon.http().get(f"/v2/{name}/tags/list").status_code == 404


def test_crane(daemon, name, tmp_path):
    crane = need("crane")
    home = dict(os.environ, DOCKER_CONFIG=str(tmp_path / "docker"))
    run(crane, "auth", "login", daemon.host, "-u", daemon.user, "-p", daemon.password, "--insecure", env=home)
    (tmp_path / "layer.tar").write_bytes(make.tar({"hello": b"world"}))
    run(crane, "append", "--insecure", "-f", tmp_path / "layer.tar", "-t", f"{daemon.host}/{name}:1", env=home)
    run(crane, "copy", "--insecure", f"{daemon.host}/{name}:1", f"{daemon.host}/{name}/copy:2", env=home)
    run(crane, "tag", "--insecure", f"{daemon.host}/{name}/copy:2", "stable", env=home)
    assert run(crane, "ls", "--insecure", f"{daemon.host}/{name}/copy", env=home).text.split()[-2:] == ["2", "stable"]
    assert name in run(crane, "catalog", "--insecure", daemon.host, env=home).text.split()
    run(crane, "pull", "--insecure", f"{daemon.host}/{name}/copy:stable", tmp_path / "out.tar", env=home)
    assert "manifest.json" in run("tar", "-tf", tmp_path / "out.tar").text
    digest = run(crane, "digest", "--insecure", f"{daemon.host}/{name}/copy:stable", env=home).text.split()[-1]
    run(crane, "delete", "--insecure", f"{daemon.host}/{name}/copy@{digest}", env=home)
    assert daemon.http().get(f"/v2/{name}/copy/tags/list").json()["tags"] == []


OPEN = 'path "images/*" { capabilities = ["create", "read", "update", "delete", "list"] }\n'


@pytest.fixture(scope="module")
def open_registry():
    """One that anybody may use, without a password."""
    with running(mount=False) as d:
        d.vault("PUT", "sys/policies/acl/anonymous", json={"policy": OPEN}).raise_for_status()
        yield d


@pytest.mark.parametrize("login", ["password", "nobody"])
@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_conformance(request, name, version, login, tmp_path):
    suite = need("conformance")
    daemon = request.getfixturevalue("daemon" if login == "password" else "open_registry")
    user, password = daemon.auth if login == "password" else ("", "")
    environment = dict(os.environ, OCI_REGISTRY=daemon.host, OCI_TLS="disabled", OCI_USERNAME=user, OCI_PASSWORD=password,
                       OCI_REPO1=f"{name}/one", OCI_REPO2=f"{name}/two", OCI_VERSION=version, OCI_RESULTS_DIR=str(tmp_path / "results"), OCI_LOG="error")
    run(suite, env=environment, cwd=tmp_path, timeout=300, ok=False)
    # the result of a test is its attribute `status`; there are no children for failures
    leaves = list(ElementTree.parse(tmp_path / "results" / "junit.xml").getroot().iter("testcase"))
    failed = [t.get("name") for t in leaves if t.get("status") not in ("passed", "skipped")]
    assert not failed, failed[:20]
    assert sum(t.get("status") == "passed" for t in leaves) >= 690
