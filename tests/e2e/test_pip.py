"""pip: installs and downloads from the index; caching, ranges and negotiation as it uses them."""
import gzip
import hashlib
import os
import subprocess
import sys
import xmlrpc.client

import pytest
import requests
import make
from conftest import need, run
from test_twine import JSON, form


def pip(*arguments, ok=True, **environment):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
           "PIP_CONFIG_FILE": os.devnull, **environment}
    return run(sys.executable, "-m", "pip", *arguments, ok=ok, env=env)


def index(daemon, auth=True):
    user = f"{daemon.user}:{daemon.password.replace(' ', '%20')}@" if auth else ""
    return f"http://{user}{daemon.host}/simple/"


def upload(daemon, *files):
    for f in files:
        r = daemon.http().post("/legacy/", **form(f))
        assert r.status_code == 200, r.text


@pytest.fixture
def graph(daemon, name):
    """a 2.0 needs b >= 1; a 1.0 does not; a 3.0 needs a Python of the future; a 2.1 is for none."""
    a, b = name + "a", name + "b"
    upload(daemon, make.wheel(a, "1.0"), make.wheel(a, "2.0", metadata=f"Requires-Dist: {b}>=1\n"),
           make.wheel(a, "3.0", metadata="Requires-Python: >=4\n"), make.wheel(b, "1.5"), make.wheel(b, "1.10"))
    return a, b


def installed(folder):
    return {d.name.split("-")[0]: d.name.split("-")[1].removesuffix(".dist") for d in folder.glob("*.dist-info")}


def test_install(daemon, graph, tmp_path):
    a, b = graph
    pip("install", "--index-url", index(daemon), "--target", tmp_path, "--no-cache-dir", a)
    assert installed(tmp_path) == {a: "2.0", b: "1.10"}


def test_download_and_hashes(daemon, graph, tmp_path):
    a, b = graph
    wheel = make.wheel(b, "1.10")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"{b}==1.10 --hash=sha256:{hashlib.sha256(wheel[1]).hexdigest()}\n")
    pip("download", "--index-url", index(daemon), "--no-cache-dir", "-d", tmp_path, "-r", requirements)
    assert (tmp_path / wheel[0]).read_bytes() == wheel[1]


def test_without_credentials(daemon, graph, tmp_path):
    refused = pip("download", "--index-url", index(daemon, auth=False), "--no-cache-dir", "-d", tmp_path, graph[0], ok=False)
    assert refused.returncode != 0
    assert not list(tmp_path.iterdir())


def test_unknown(daemon, tmp_path):
    refused = pip("download", "--index-url", index(daemon), "--no-cache-dir", "-d", tmp_path, "no-such-thing", ok=False)
    assert "No matching distribution" in refused.text


def test_sdist(daemon, name, tmp_path):
    file = make.sdist(name)
    upload(daemon, file)
    r = pip("download", "--index-url", index(daemon), "--no-cache-dir", "--no-deps", "--no-build-isolation", "--no-binary", ":all:",
            "-d", tmp_path, name, ok=False)
    if "setuptools" in r.text and r.returncode != 0:
        pytest.skip("setuptools is not installed")
    assert (tmp_path / file[0]).read_bytes() == file[1]


def test_yanked_is_not_chosen(daemon, graph, tmp_path):
    a, b = graph
    os.setxattr(daemon.mount / "packages" / b / make.wheel(b, "1.10")[0], "user.pypi.yanked", b"broken")
    page = daemon.http().get(f"/simple/{b}/", headers=JSON).json()
    assert {f["filename"]: f["yanked"] for f in page["files"]} == {make.wheel(b, "1.5")[0]: False, make.wheel(b, "1.10")[0]: "broken"}
    pip("install", "--index-url", index(daemon), "--target", tmp_path, "--no-cache-dir", a)
    assert installed(tmp_path) == {a: "2.0", b: "1.5"}
    os.removexattr(daemon.mount / "packages" / b / make.wheel(b, "1.10")[0], "user.pypi.yanked")
    assert not any(f["yanked"] for f in daemon.http().get(f"/simple/{b}/", headers=JSON).json()["files"])


def test_pip_caches_wheels(daemon, graph, tmp_path):
    """The second download comes out of pip's cache: immutable files say so. (It keeps nothing of a plain
    HTTP host that it was not told to trust.)"""
    cache = tmp_path / "cache"
    for i in range(2):
        r = pip("download", "--trusted-host", daemon.host, "--index-url", index(daemon), "--cache-dir", cache, "-d", tmp_path / str(i), graph[1])
    assert "Using cached" in r.text


def test_the_mount_is_a_find_links_folder(daemon, graph, tmp_path):
    pip("install", "--no-index", "-f", daemon.mount / "packages" / "@all", "--target", tmp_path, "--no-cache-dir", graph[0])
    assert installed(tmp_path) == {graph[0]: "2.0", graph[1]: "1.10"}


def test_published_by_cp_and_installed_at_once(daemon, name, tmp_path):
    file = make.wheel(name)
    (tmp_path / file[0]).write_bytes(file[1])
    for version in ("1.0", "1.1", "1.2"):
        file = make.wheel(name, version)
        (tmp_path / file[0]).write_bytes(file[1])
        run("cp", tmp_path / file[0], daemon.mount / "packages")
        target = tmp_path / version
        pip("install", "--index-url", index(daemon), "--target", target, "--cache-dir", tmp_path / "cache", name)
        assert installed(target) == {name: version}


def test_conditional_requests(daemon, graph):
    s = daemon.http()
    for path in ("/simple/", f"/simple/{graph[0]}/"):
        for accept in ("text/html", JSON["Accept"]):
            r = s.get(path, headers={"Accept": accept, "Accept-Encoding": "identity"})
            assert r.status_code == 200 and r.headers["Content-Type"].startswith(accept)
            assert "Accept" in r.headers["Vary"] and "no-cache" in r.headers["Cache-Control"]
            again = s.get(path, headers={"Accept": accept, "Accept-Encoding": "identity", "If-None-Match": r.headers["ETag"]})
            assert again.status_code == 304 and not again.content and again.headers["ETag"] == r.headers["ETag"]
    upload(daemon, make.wheel(graph[0], "9.0"))
    assert s.get(path, headers={"Accept": accept, "Accept-Encoding": "identity", "If-None-Match": r.headers["ETag"]}).status_code == 200


def test_gzip(daemon, name):
    for i in range(20):
        upload(daemon, make.wheel(name, f"1.{i}"))
    s = daemon.http()
    plain = s.get(f"/simple/{name}/", headers={**JSON, "Accept-Encoding": "identity"})
    packed = s.get(f"/simple/{name}/", headers={**JSON, "Accept-Encoding": "gzip"}, stream=True)
    raw = packed.raw.read(decode_content=False)
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(raw) == plain.content
    assert packed.headers["ETag"] != plain.headers["ETag"]
    wheel = make.wheel(name, "1.0")
    assert "Content-Encoding" not in s.get(f"/packages/{wheel[0]}", headers={"Accept-Encoding": "gzip"}).headers


def test_ranges(daemon, name):
    """What lazy wheels ask for (pip fast-deps, uv, poetry), on a small file and on a large one."""
    s = daemon.http()
    for version, size in (("1.0", 0), ("2.0", 5 << 20)):
        file, content = make.wheel(name, version, size=size)
        upload(daemon, (file, content))
        path = f"/packages/{file}"
        head = s.head(path, headers={"Accept-Encoding": "identity"})
        assert head.status_code == 200 and int(head.headers["Content-Length"]) == len(content)
        assert head.headers["Accept-Ranges"] == "bytes" and not head.content
        n = len(content)
        for asked, want in (("bytes=0-9", content[:10]), ("bytes=-20", content[-20:]), (f"bytes={n-5}-", content[-5:]),
                            (f"bytes=10-{n + 100}", content[10:]), (f"bytes=-{n * 2}", content)):
            r = s.get(path, headers={"Range": asked, "Accept-Encoding": "identity", "Cache-Control": "no-cache"})
            assert r.status_code == 206 and r.content == want, asked
        r = s.get(path, headers={"Range": f"bytes={n}-"})
        assert r.status_code == 416 and r.headers["Content-Range"] == f"bytes */{n}"
        etag = head.headers["ETag"]
        assert s.get(path, headers={"Range": "bytes=0-3", "If-Range": etag}).status_code == 206
        assert s.get(path, headers={"Range": "bytes=0-3", "If-Range": '"other"'}).content == content
        assert s.get(path, headers={"If-None-Match": etag}).status_code == 304
        assert "immutable" in head.headers["Cache-Control"]


def test_metadata_sibling(daemon, graph):
    f = daemon.http().get(f"/simple/{graph[0]}/", headers=JSON).json()["files"][1]
    r = daemon.http().get(f"/packages/{f['filename']}.metadata")
    assert hashlib.sha256(r.content).hexdigest() == f["core-metadata"]["sha256"]
    assert f"Requires-Dist: {graph[1]}>=1".encode() in r.content


def test_redirects(daemon, name):
    upload(daemon, make.wheel(name + "-x"))
    s = daemon.http()
    for path in (f"/simple/{name}-x", f"/simple/{name}_X/", f"/simple/{name}.x"):
        r = s.get(path, allow_redirects=False)
        assert r.status_code == 301
        assert s.get(path).url == f"{daemon.url}/simple/{name}-x/"


def test_json_api(daemon, name):
    metadata = ("Summary: sells \"things\"\nAuthor-email: A <a@example.org>\nClassifier: A :: B\nClassifier: C\nRequires-Dist: idna>=2\n"
                "Project-URL: Home, https://example.org/a,b\nRequires-Python: >=3.6")
    files = [make.wheel(name, "1.0", metadata="Summary: old"), make.wheel(name, "1.10", metadata=metadata), make.sdist(name, "1.10"),
             make.wheel(name, "1.9"), make.wheel(name, "2.0rc1")]
    upload(daemon, *files)
    s = daemon.http()
    r = s.get(f"/pypi/{name.upper()}/json")
    assert r.status_code == 200 and r.headers["Content-Type"] == "application/json"
    said = r.json()
    info = said["info"]
    assert (info["name"], info["version"], info["summary"], info["requires_python"]) == (name, "1.10", 'sells "things"', ">=3.6")
    assert info["classifiers"] == ["A :: B", "C"] and info["requires_dist"] == ["idna>=2"] and info["author"] is None
    assert info["project_urls"] == {"Home": "https://example.org/a,b"} and info["description"] == "Text of the package.\n"
    assert list(said["releases"]) == ["1.0", "1.9", "1.10", "2.0rc1"] and said["vulnerabilities"] == []
    assert [(u["filename"], u["packagetype"], u["python_version"]) for u in said["urls"]] == [
        (files[1][0], "bdist_wheel", "py3"), (files[2][0], "sdist", "source")]
    one = said["urls"][0]
    assert s.get(one["url"].removeprefix(daemon.url)).content == files[1][1]
    assert one["digests"]["sha256"] == hashlib.sha256(files[1][1]).hexdigest() and one["size"] == len(files[1][1])
    assert one["upload_time_iso_8601"].startswith(one["upload_time"]) and one["upload_time_iso_8601"].endswith("Z")

    one = s.get(f"/pypi/{name}/1.00/json").json()
    assert (one["info"]["version"], one["info"]["summary"], "releases" in one, len(one["urls"])) == ("1.0", "old", False, 1)
    # what is yanked is not the newest
    for file in (files[1], files[2]):
        s.patch(f"/packages/{file[0]}", json={"yanked": "loses data"}).raise_for_status()
    assert s.get(f"/pypi/{name}/json").json()["info"]["version"] == "1.9"
    info = s.get(f"/pypi/{name}/1.10/json").json()["info"]
    assert (info["yanked"], info["yanked_reason"]) == (True, "loses data")
    assert [s.get(f"/pypi/{p}/json").status_code for p in (f"{name}/9", f"{name}/x!", "none-" + name, "bad%0aname")] == [404] * 4
    assert requests.get(f"{daemon.url}/pypi/{name}/json").status_code == 401


def test_search(daemon, name):
    upload(daemon, make.wheel(name, "1.0", metadata="Summary: old"), make.wheel(name, "1.1", metadata="Summary: sells <things> & more"),
           make.wheel(name + "-tools", "0.3"))
    for path in ("pypi", "RPC2"):
        found = pip("search", "--index", index(daemon).replace("simple/", path), name.upper()).text
        assert f"{name} (1.1)" in found and "sells <things> & more" in found and f"{name}-tools (0.3)" in found
    assert pip("search", "--index", index(daemon).replace("simple/", "pypi"), "none-" + name, ok=False).returncode == 23
    user = f"{daemon.user}:{daemon.password.replace(' ', '%20')}@"
    server = xmlrpc.client.ServerProxy(f"http://{user}{daemon.host}/RPC2")
    assert [(p["name"], p["_pypi_ordering"]) for p in server.search({"name": name})] == [(name, 0), (name + "-tools", 1)]
    with pytest.raises(xmlrpc.client.Fault, match="no such method"):
        server.package_releases(name)
    with pytest.raises(xmlrpc.client.ProtocolError, match="401"):
        xmlrpc.client.ServerProxy(f"http://{daemon.host}/RPC2").search(name)
    s = daemon.http()
    assert s.post("/RPC2", data="<!DOCTYPE x>" + xmlrpc.client.dumps((name,), "search")).status_code == 400
    assert s.post("/RPC2", data=" " * (65 << 10)).status_code == 413
