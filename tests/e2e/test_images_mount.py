"""Images as files: what was pushed is read, retagged and removed in the mount, and the other way round."""
import errno
import json
import os
import subprocess

import make
import pytest
from conftest import need, run

INDEX = "application/vnd.oci.image.index.v1+json"


def names(folder):
    return sorted(os.listdir(folder))


def folder_of(daemon, repo, image):
    return daemon.mount / "images" / repo / "@manifests" / image.digest.replace(":", "-")


def test_layout_of_an_image(daemon, name):
    image = make.Image({"a": b"1"}, {"b": b"2"})
    make.push_image(daemon.http(), f"team/{name}", "1.0", image)
    repo = daemon.mount / "images" / "team" / name
    assert names(repo) == ["1.0"]
    assert os.readlink(repo / "1.0") == "@manifests/" + image.digest.replace(":", "-")
    assert names(repo / "1.0") == ["config.json", "layers", "manifest.json", "referrers", "rootfs", "size"]
    assert (repo / "1.0" / "manifest.json").read_bytes() == image.manifest
    assert json.loads((repo / "1.0" / "config.json").read_bytes())["os"] == "linux"
    layers = names(repo / "1.0" / "layers")
    assert layers == [f"{i}-{make.digest(b)[7:19]}.tar.gz" for i, b in enumerate(image.layers)]
    for layer, content in zip(layers, image.layers):
        path = repo / "1.0" / "layers" / layer
        assert path.read_bytes() == content and path.stat().st_size == len(content)
    assert int((repo / "1.0" / "size").read_text()) == len(image.manifest) + len(image.config) + sum(map(len, image.layers))
    assert run("tar", "-tzf", repo / "1.0" / "layers" / layers[1]).text.strip() == "b"
    assert (repo / "@tags" / "1.0" / "manifest.json").read_bytes() == image.manifest
    assert names(daemon.mount / "images" / "team" / name / "@manifests") == [image.digest.replace(":", "-")]
    total = run("find", repo, "-type", "f")
    assert total.text == ""  # nothing is listed twice: tags are symlinks, @ is not listed


def test_repositories_are_folders(daemon, name):
    s, image = daemon.http(), make.Image()
    for repo in (f"{name}/a", f"{name}/a/b", f"{name}/c-d"):
        make.push_image(s, repo, "b", image)
    top = daemon.mount / "images" / name
    assert names(top) == ["a", "c-d"]
    assert names(top / "a") == ["b"] and (top / "a" / "b").is_dir() and not (top / "a" / "b").is_symlink()
    assert names(top / "a" / "b") == ["b"] and (top / "a" / "b" / "b").is_symlink()
    assert (top / "a" / "@tags" / "b" / "manifest.json").read_bytes() == image.manifest
    assert not (top / "nothing").exists()
    assert not (daemon.mount / "images" / "@blobs" / "sha256" / ("0" * 64)).exists()


def test_retag_untag_delete(daemon, name):
    s, one, two = daemon.http(), make.Image(), make.Image()
    make.push_image(s, name, "1", one)
    make.push_image(s, name, "2", two)
    repo = daemon.mount / "images" / name
    run("ln", "-sfn", "1", repo / "stable")
    assert s.get(f"/v2/{name}/manifests/stable").content == one.manifest
    run("ln", "-sfn", "2", repo / "stable", cwd=repo)
    assert s.get(f"/v2/{name}/manifests/stable").content == two.manifest
    run("ln", "-s", "@manifests/" + one.digest.replace(":", "-"), repo / "by-digest")
    assert s.get(f"/v2/{name}/manifests/by-digest").content == one.manifest
    assert "File exists" in run("ln", "-sT", "1", repo / "stable", ok=False).text
    r = run("ln", "-sfn", "none", repo / "x", ok=False)
    assert r.returncode != 0 and "No such file" in r.text
    with pytest.raises(OSError):
        os.symlink("/etc/passwd", repo / "x")
    run("mv", repo / "stable", repo / "old")
    assert s.get(f"/v2/{name}/manifests/stable").status_code == 404 and s.get(f"/v2/{name}/manifests/old").content == two.manifest
    assert s.get(f"/v2/{name}/tags/list").json()["tags"] == ["1", "2", "by-digest", "old"]
    with pytest.raises(OSError) as e:
        os.rmdir(folder_of(daemon, name, one))
    assert e.value.errno == errno.EBUSY
    for tag in ("1", "by-digest"):
        os.unlink(repo / tag)
    assert s.get(f"/v2/{name}/manifests/{one.digest}").status_code == 200
    run("rm", "-r", folder_of(daemon, name, one))
    assert s.get(f"/v2/{name}/manifests/{one.digest}").status_code == 404
    assert not folder_of(daemon, name, one).exists()
    assert s.get(f"/v2/{name}/manifests/old").status_code == 200


def test_the_rest_is_read_only(daemon, name):
    image = make.Image()
    make.push_image(daemon.http(), name, "1", image)
    repo = daemon.mount / "images" / name
    for what in (lambda: (repo / "new" / "x").mkdir(parents=True), lambda: (repo / "file").write_text("x"), lambda: os.truncate(repo / "1" / "manifest.json", 0),
                 lambda: (repo / "1" / "manifest.json").open("r+b"), lambda: (repo / "1" / "x").write_text("x"), lambda: os.rename(repo / "1" / "size", repo / "1" / "s2"),
                 lambda: (daemon.mount / "images" / "@blobs" / "sha256" / ("0" * 64)).write_text("x")):
        with pytest.raises(OSError) as e:
            what()
        assert e.value.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT), e.value
    assert names(repo) == ["1"] and (repo / "1" / "manifest.json").read_bytes() == image.manifest


def test_seen_at_once(daemon, name):
    """Every change over HTTP is in the mount when its answer arrives, whatever was looked at before."""
    s, repo = daemon.http(), daemon.mount / "images" / name
    images = [make.Image() for _ in range(3)]
    assert not repo.exists()
    make.push_image(s, name, "t", images[0])
    assert names(repo) == ["t"] and not (repo / "u").is_symlink()
    for i in range(30):
        image = images[i % 3]
        make.push_image(s, name, "t", image)
        assert (repo / "t" / "manifest.json").read_bytes() == image.manifest, i
        make.push_image(s, name, f"u{i}", image)
        assert (repo / f"u{i}").is_symlink() and f"u{i}" in names(repo)
        s.delete(f"/v2/{name}/manifests/u{i}")
        assert not (repo / f"u{i}").is_symlink() and f"u{i}" not in names(repo)
    s.delete(f"/v2/{name}/manifests/{images[29 % 3].digest}")
    assert not (repo / "t").is_symlink() and not folder_of(daemon, name, images[29 % 3]).exists()


def test_index_and_referrers(daemon, name):
    s, one, two = daemon.http(), make.Image(), make.Image()
    make.push_image(s, name, "one", one)
    make.push_image(s, name, "two", two)
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": make.OCI_MANIFEST, "digest": i.digest, "size": len(i.manifest), "platform": {"os": "linux", "architecture": a}}
        for i, a in ((one, "amd64"), (two, "arm64"))]}).encode()
    assert s.put(f"/v2/{name}/manifests/all", data=index, headers={"Content-Type": INDEX}).status_code == 201
    folder = daemon.mount / "images" / name / "all"
    assert names(folder) == ["index.json", "linux-amd64", "linux-arm64", "referrers", "size"]
    assert (folder / "index.json").read_bytes() == index
    assert (folder / "linux-arm64" / "manifest.json").read_bytes() == two.manifest
    sbom = json.dumps({"schemaVersion": 2, "mediaType": make.OCI_MANIFEST, "artifactType": "a/sbom", "layers": [],
                       "config": {"mediaType": make.OCI_CONFIG, "digest": make.digest(one.config), "size": len(one.config)},
                       "subject": {"mediaType": make.OCI_MANIFEST, "digest": one.digest, "size": len(one.manifest)}}).encode()
    assert names(folder / "linux-amd64" / "referrers") == []
    assert s.put(f"/v2/{name}/manifests/{make.digest(sbom)}", data=sbom, headers={"Content-Type": make.OCI_MANIFEST}).status_code == 201
    assert names(folder / "linux-amd64" / "referrers") == [make.digest(sbom).replace(":", "-")]
    assert (folder / "linux-amd64" / "referrers" / make.digest(sbom).replace(":", "-") / "manifest.json").read_bytes() == sbom


def test_layer_of_skopeo_by_sha256sum(daemon, name, tmp_path):
    skopeo = need("skopeo")
    image = make.Image({"big": os.urandom(12 << 20)})
    image.layout(tmp_path / "oci")
    run(skopeo, "copy", "--dest-tls-verify=false", "--dest-creds", f"{daemon.user}:{daemon.password}", f"oci:{tmp_path}/oci:latest", f"docker://{daemon.host}/{name}:1")
    layer = next((daemon.mount / "images" / name / "1" / "layers").iterdir())
    assert run("sha256sum", layer).text.split()[0] == make.digest(image.layers[0])[7:]
    assert run("cmp", layer, daemon.mount / "images" / "@blobs" / "sha256" / make.digest(image.layers[0])[7:]).text == ""
    copy = tmp_path / "copy"
    run("cp", "-rL", daemon.mount / "images" / name / "1", copy)
    assert (copy / "manifest.json").read_bytes() == image.manifest
    listing = subprocess.run(["tar", "-tzf", str(layer)], stdout=subprocess.PIPE, check=True)
    assert listing.stdout == b"big\n"


def test_repository_as_an_image_layout(daemon, name, tmp_path):
    skopeo = need("skopeo")
    s, one, two = daemon.http(), make.Image(), make.Image()
    make.push_image(s, name, "1.0", one)
    layout = daemon.mount / "images" / name / "@oci"
    run(skopeo, "copy", f"oci:{layout}:1.0", f"dir:{tmp_path}/one")
    assert (tmp_path / "one" / "manifest.json").read_bytes() == one.manifest
    make.push_image(s, name, "2.0", two)
    run(skopeo, "copy", f"oci:{layout}:2.0", f"dir:{tmp_path}/two")
    assert (tmp_path / "two" / "manifest.json").read_bytes() == two.manifest
    run("cp", "-r", layout, tmp_path / "copy")
    run(skopeo, "copy", f"oci:{tmp_path}/copy:1.0", f"dir:{tmp_path}/three")
    assert (tmp_path / "three" / make.digest(one.layers[0])[7:]).read_bytes() == one.layers[0]
