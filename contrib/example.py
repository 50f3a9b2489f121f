#!/usr/bin/env python3
"""Loads a small example of every area into a running infrafs, through the mount and over HTTP.

Uses the standard library alone, so that a fresh machine needs no client.
"""
import argparse
import base64
import gzip
import hashlib
import io
import json
import pathlib
import tarfile
import time
import urllib.error
import urllib.request
import zipfile


def secrets(mount):
    """A secret is a folder, its fields are files."""
    folder = mount / "service-1" / "env-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "db_url").write_text("postgres://app:s3cret@db.example:5432/app")
    (folder / "api_key").write_text("key-0123456789")


def wheel():
    """A pure wheel, the smallest that pip installs."""
    name, version = "hello_infrafs", "1.0"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "def hello():\n    return 'hello from infrafs'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: hello-infrafs\nVersion: {version}\nSummary: an example\nRequires-Python: >=3.8\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: example\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for path, text in files.items():
            z.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


def packages(mount):
    """Publishing is copying a file."""
    name, content = wheel()
    (mount / "packages" / name).write_bytes(content)


class Registry:
    """The few requests of a push, as docker makes them."""

    def __init__(self, url, user, password):
        self.url = url
        self.header = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def request(self, method, url, body=b"", kind="application/octet-stream"):
        url = url if url.startswith("http") else self.url + url
        request = urllib.request.Request(url, body, {"Authorization": self.header, "Content-Type": kind}, method=method)
        return urllib.request.urlopen(request, timeout=60)

    def blob(self, repo, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        location = self.request("POST", f"/v2/{repo}/blobs/uploads/").headers["Location"]
        self.request("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, content)
        return digest

    def manifest(self, repo, tag, content, kind):
        self.request("PUT", f"/v2/{repo}/manifests/{tag}", content, kind)


def layer():
    """A layer of two files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        for path, text in {"etc/motd": "hello from infrafs\n", "app/version": "1.0\n"}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            t.addfile(entry, io.BytesIO(text.encode()))
    return tar.getvalue()


def images(registry):
    tar = layer()
    packed = gzip.compress(tar, mtime=0)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": registry.blob("team/hello", config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": registry.blob("team/hello", packed), "size": len(packed)}],
    }).encode()
    registry.manifest("team/hello", "1.0", manifest, "application/vnd.oci.image.manifest.v1+json")


def metrics(mount, url):
    """The daemon scrapes itself, and a rule watches it; both are in force when close returns."""
    host = url.split("//")[1]
    (mount / "metrics" / "prometheus.yml").write_text(
        "global:\n  scrape_interval: 5s\nscrape_configs:\n"
        f"  - job_name: infrafs\n    static_configs:\n      - targets: ['{host}']\n")
    (mount / "metrics" / "rules" / "example.yml").write_text(
        "groups:\n- name: example\n  interval: 5s\n  rules:\n"
        "  - record: job:up:sum\n    expr: sum by (job) (up)\n"
        "  - alert: TargetDown\n    expr: up == 0\n    for: 1m\n"
        "    annotations: {summary: '{{ $labels.instance }} does not answer'}\n")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with urllib.request.urlopen(url + "/api/v1/query?query=up", timeout=60) as answer:
            if json.load(answer)["data"]["result"]:
                return
        time.sleep(0.2)
    raise SystemExit("the first scrape did not arrive within 60 s; see http /api/v1/targets")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    for option in ("--url", "--mount", "--user", "--password"):
        p.add_argument(option, required=True)
    o = p.parse_args()
    mount = pathlib.Path(o.mount)
    secrets(mount)
    packages(mount)
    try:
        images(Registry(o.url, o.user, o.password))
    except urllib.error.HTTPError as e:
        raise SystemExit(f"pushing the example image: {e.code} {e.read().decode(errors='replace')}")
    metrics(mount, o.url)


if __name__ == "__main__":
    main()
