"""Small packages and images for the tests, made here: no network."""
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile


def wheel(name="demo", version="1.0", files=None, metadata="", tag="py3-none-any", size=0):
    """(file name, bytes) of a pure wheel; `size` adds that many incompressible bytes."""
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    content = {f"{module}/__init__.py": f"VERSION = {version!r}\n".encode()}
    if size:
        content[f"{module}/data.bin"] = os.urandom(size)
    content.update(files or {})
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata and metadata + chr(10)}\nText of the package.\n".encode()
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    record = "".join(f"{p},sha256={base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b'=').decode()},{len(b)}\n" for p, b in content.items())
    content[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for path, data in content.items():
            z.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data)
    return f"{module}-{version}-{tag}.whl", out.getvalue()


def sdist(name="demo", version="1.0", metadata=""):
    """(file name, bytes) of a source distribution that setuptools can build."""
    module = name.replace("-", "_")
    top = f"{module}-{version}"
    files = {
        f"{top}/PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata and metadata + chr(10)}\n",
        f"{top}/pyproject.toml": f'[build-system]\nrequires=["setuptools"]\nbuild-backend="setuptools.build_meta"\n[project]\nname="{name}"\nversion="{version}"\n',
        f"{top}/{module}.py": "X = 1\n",
    }
    return f"{top}.tar.gz", gzip.compress(tar({k: v.encode() for k, v in files.items()}), mtime=0)


def tar(files, mode=0o644):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), mode
            t.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Image:
    """An image of the given layers (lists of path -> bytes): .manifest, .config, .layers as bytes."""

    def __init__(self, *layers):
        tars = [tar(files) for files in layers or [{"etc/motd": os.urandom(8).hex().encode()}]]
        self.layers = [gzip.compress(t, mtime=0) for t in tars]
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
                                  "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest(self.config), "size": len(self.config)},
            "layers": [{"mediaType": OCI_LAYER, "digest": digest(b), "size": len(b)} for b in self.layers]}).encode()
        self.digest = digest(self.manifest)

    def layout(self, folder, tag="latest"):
        """Writes an OCI image layout, for `skopeo copy oci:FOLDER:TAG …`."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for content in [self.config, self.manifest, *self.layers]:
            (blobs / digest(content)[7:]).write_bytes(content)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": self.digest, "size": len(self.manifest),
             "annotations": {"org.opencontainers.image.ref.name": tag}}]}))
        return folder


def push_blob(session, repo, content):
    r = session.post(f"/v2/{repo}/blobs/uploads/")
    assert r.status_code == 202, (r.status_code, r.text)
    location = r.headers["Location"]
    r = session.put(location + ("&" if "?" in location else "?") + "digest=" + digest(content), data=content,
                    headers={"Content-Type": "application/octet-stream"})
    assert r.status_code == 201, (r.status_code, r.text)
    return digest(content)


def push_image(session, repo, tag, image):
    for content in [image.config, *image.layers]:
        push_blob(session, repo, content)
    r = session.put(f"/v2/{repo}/manifests/{tag}", data=image.manifest, headers={"Content-Type": OCI_MANIFEST})
    assert r.status_code == 201, (r.status_code, r.text)
    return image.digest
