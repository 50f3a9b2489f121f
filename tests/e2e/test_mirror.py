"""The mirror: names that the team does not have come from an index behind, and none that it has."""
import base64
import hashlib
import http.server
import json
import os
import threading

import pytest
import make
from conftest import PASSWORD, USER, free_port, need, program, run, running
from test_pip import index, installed, pip, upload
from test_twine import JSON

TYPE = "application/vnd.pypi.simple.v1+json"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Upstream(http.server.ThreadingHTTPServer):
    """An index: .files (name -> bytes) by .pages (project -> file names); what came is in .seen."""

    daemon_threads = True

    def __init__(self, html=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.html, self.files, self.pages, self.seen, self.sends = html, {}, {}, [], {}
        self.url_of = lambda name: f"../../files/{name}"
        self.hash_of = lambda name: sha256(self.files[name])
        self.metadata, self.redirects, self.broken = {}, {}, False
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/simple/"

    def add(self, project, *files):
        for name, content in files:
            self.files[name] = content
            self.pages.setdefault(project, []).append(name)

    def paths(self):
        return [p for p, _ in self.seen]

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()

    def page(self, project):
        names = self.pages[project]
        if self.html:
            return "text/html", "".join(f'<a href="{self.url_of(n)}#sha256={self.hash_of(n)}" data-requires-python="&gt;=3.6">{n}</a>' for n in names).encode()
        files = [{"filename": n, "url": self.url_of(n), "hashes": {"sha256": self.hash_of(n)}, "size": len(self.files[n]), "yanked": False,
                  "upload-time": "2026-01-02T03:04:05Z",
                  "core-metadata": {"sha256": sha256(self.metadata[n])} if n in self.metadata else False} for n in names]
        return TYPE, json.dumps({"meta": {"api-version": "1.1"}, "name": project, "versions": [], "files": files}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        s = self.server
        s.seen.append((self.path, dict(self.headers)))
        parts = self.path.strip("/").split("/")
        if s.broken:
            return self.answer(503)
        if self.path in s.redirects:
            return self.answer(302, Location=s.redirects[self.path])
        if parts[0] == "simple" and parts[-1] in s.pages:
            type, content = s.page(parts[-1])
            etag = f'"{sha256(content)[:10]}"'
            if self.headers.get("If-None-Match") == etag:
                return self.answer(304, ETag=etag)
            return self.answer(200, content, Content_Type=type, ETag=etag)
        name = parts[-1].removesuffix(".metadata")
        if parts[0] == "files" and name in s.files:
            if name != parts[-1]:
                return self.answer(200, s.metadata[name])
            if name in s.sends:
                return s.sends[name](self)
            return self.answer(200, s.files[name])
        self.answer(404)


@pytest.fixture
def upstream():
    u = Upstream()
    yield u
    u.stop()


def mirroring(url, allow='["*"]', more=""):
    return running(config=f'packages: {{mirror: "{url}", mirror_allow: {allow}, {more}}}\n')


def page(d, name, **headers):
    return d.http().get(f"/simple/{name}/", headers={**JSON, **headers})


def names(d, name):
    return [f["filename"] for f in page(d, name).json()["files"]]


def test_off_by_default(daemon, name):
    assert page(daemon, name).status_code == 404
    assert daemon.http().get(f"/packages/{name}-1.0-py3-none-any.whl").status_code == 404


def test_pip_and_uv_through_another_infrafs(name, tmp_path):
    """A chain of two, the first behind a password that only its own address may hear."""
    with running(mount=False) as first:
        a, b = name + "a", name + "b"
        upload(first, make.wheel(a, "2.0", metadata=f"Requires-Dist: {b}>=1\n"), make.wheel(b, "1.5"), make.wheel(b, "1.10", size=3 << 20))
        (tmp_path / "credentials").write_text(f"{first.user}:{first.password}\n")
        with mirroring(f"{first.url}/simple", more=f"mirror_credentials: {tmp_path}/credentials") as d:
            pip("install", "--index-url", index(d), "--target", tmp_path / "pip", "--no-cache-dir", a)
            assert installed(tmp_path / "pip") == {a: "2.0", b: "1.10"}
            run(need("uv"), "pip", "install", "--no-config", "--no-cache", "--index-url", index(d), "--target", tmp_path / "uv", a)
            assert installed(tmp_path / "uv") == {a: "2.0", b: "1.10"}
            mine, theirs = page(d, b).json(), page(first, b).json()
            assert mine["files"] == theirs["files"] and mine["versions"] == theirs["versions"]
            assert page(d, "none-" + name).status_code == 404
            first.kill9()
            d.restart()
            for f in (make.wheel(a, "2.0", metadata=f"Requires-Dist: {b}>=1\n")[0], theirs["files"][1]["filename"]):
                assert d.http().get(f"/packages/{f}").status_code == 200
            pip("install", "--index-url", index(d), "--target", tmp_path / "again", "--no-cache-dir", a)
            assert installed(tmp_path / "again") == {a: "2.0", b: "1.10"}
            assert page(d, "other-" + name).status_code == 502
            assert first.password not in d.log.read_text()
            first.start()


def test_names_of_the_team_stay_the_teams(upstream, name):
    """Not while it has them, not when they were deleted, not when a folder says so."""
    evil, own = make.wheel(name, "99.0"), make.wheel(name, "1.0")
    upstream.add(name, evil)
    upstream.add(name + "-dir", make.wheel(name + "_dir", "99.0"))
    with mirroring(upstream.url) as d:
        assert names(d, name) == [evil[0]]
        upload(d, own)
        assert names(d, name) == [own[0]]
        assert d.http().get(f"/packages/{evil[0]}").status_code == 404
        assert d.http().delete(f"/packages/{own[0]}").status_code == 200
        assert page(d, name).status_code == 404
        assert d.http().get(f"/packages/{evil[0]}").status_code == 404
        assert names(d, name + "-dir")
        (d.mount / "packages" / f"{name}-dir").mkdir()
        assert page(d, name + "-dir").status_code == 404
        (d.mount / "packages" / name).rmdir()
        assert names(d, name) == [evil[0]]
        assert name not in d.http().get("/simple/").text


def test_allow_list(upstream, name):
    for project in (name, f"other-{name}", f"{name}-part"):
        upstream.add(project, make.wheel(project.replace("-", "_")))
    with mirroring(upstream.url, allow=f'["{name.upper()}", "other_*"]') as d:
        assert names(d, name) and names(d, f"other-{name}")
        assert page(d, f"{name}-part").status_code == 404
        assert d.http().get(f"/packages/{name}_part-1.0-py3-none-any.whl").status_code == 404
        assert not [p for p in upstream.paths() if "part" in p]
        assert d.http(auth=False).get(f"/simple/{name}/").status_code == 401


def test_only_files_of_the_project_that_can_be_verified(upstream, name):
    good, other, bad = make.wheel(name), make.wheel(name + "x"), make.wheel(name, "2.0")
    upstream.add(name, good, other, bad, ("notes.txt", b"x"), (f"{name}-1.0.exe", b"x"))
    upstream.hash_of = lambda n: "" if n == bad[0] else sha256(upstream.files[n])
    with mirroring(upstream.url) as d:
        assert names(d, name) == [good[0]]
        assert d.http().get(f"/packages/{other[0]}").status_code == 404


def test_revalidation_and_an_index_that_is_down(upstream, name):
    first, second = make.wheel(name), make.wheel(name, "2.0")
    upstream.add(name, first)
    with mirroring(upstream.url, more="mirror_refresh: 0") as d:
        for _ in range(3):
            assert names(d, name) == [first[0]]
        asked = [h.get("If-None-Match") for p, h in upstream.seen]
        assert asked[0] is None and all(asked[1:]) and len(asked) == 3
        upstream.add(name, second)
        assert names(d, name) == [first[0], second[0]]
        assert d.http().get(f"/packages/{first[0]}").content == first[1]
        upstream.pages[name].remove(first[0])
        assert names(d, name) == [second[0]]
        assert d.http().get(f"/packages/{first[0]}").content == first[1]  # a lock file may know it
        upstream.broken = True
        for _ in range(3):
            assert names(d, name) == [second[0]]
        assert d.http().get(f"/packages/{first[0]}").content == first[1]
        r = page(d, "new" + name)
        assert r.status_code == 502 and "behind" in r.text and r.text.count("\n") == 1


def test_kept_for_a_while(upstream, name):
    upstream.add(name, make.wheel(name))
    with mirroring(upstream.url) as d:
        for _ in range(3):
            assert names(d, name) and page(d, "none" + name).status_code == 404
        assert sorted(upstream.paths()) == sorted([f"/simple/{name}/", f"/simple/none{name}/"])
        for _ in range(3):
            assert d.http().get(f"/packages/{make.wheel(name)[0]}").content == make.wheel(name)[1]
        assert len(upstream.paths()) == 3
        page_etag = page(d, name).headers["ETag"]
        assert page(d, name, **{"If-None-Match": page_etag}).status_code == 304


def test_html(name):
    u = Upstream(html=True)
    u.add(name, make.wheel(name), make.sdist(name))
    with mirroring(u.url) as d:
        p = page(d, name).json()
        assert p["meta"]["api-version"] == "1.0" and p["files"][0]["requires-python"] == ">=3.6"
        assert sorted(names(d, name)) == sorted([make.wheel(name)[0], make.sdist(name)[0]])
        assert d.http().get(f"/packages/{make.sdist(name)[0]}").content == make.sdist(name)[1]
    u.stop()


def test_metadata(upstream, name):
    good, bad = make.wheel(name), make.wheel(name, "2.0")
    upstream.add(name, good, bad)
    upstream.metadata = {good[0]: b"Name: x\n", bad[0]: b"Name: y\n"}
    with mirroring(upstream.url) as d:
        assert [f["core-metadata"]["sha256"] for f in page(d, name).json()["files"]] == [sha256(b"Name: x\n"), sha256(b"Name: y\n")]
        for _ in range(2):
            assert d.http().get(f"/packages/{good[0]}.metadata").content == b"Name: x\n"
        assert upstream.paths().count(f"/files/{good[0]}.metadata") == 1
        upstream.metadata[bad[0]] = b"Name: z\n"
        assert d.http().get(f"/packages/{bad[0]}.metadata").status_code == 502
        assert d.http().get(f"/packages/{good[0]}.asc").status_code == 404


def test_passed_on_while_it_arrives(upstream, name):
    """The first bytes come out while the last have not come in; of readers at once one fetches."""
    file = make.wheel(name, size=6 << 20)
    upstream.add(name, file)
    begun = threading.Event()

    def send(h):
        h.send_response(200)
        h.send_header("Content-Length", str(len(file[1])))
        h.end_headers()
        h.wfile.write(file[1][:3 << 20])
        h.wfile.flush()
        begun.wait(60)
        h.wfile.write(file[1][3 << 20:])

    upstream.sends[file[0]] = send
    with mirroring(upstream.url) as d:
        readers = [d.http().get(f"/packages/{file[0]}", stream=True) for _ in range(3)]
        assert all(int(r.headers["Content-Length"]) == len(file[1]) for r in readers)
        starts = [r.raw.read(1 << 20) for r in readers]
        readers.pop().close()  # one goes away
        begun.set()
        for start, r in zip(starts, readers):
            assert start + r.raw.read() == file[1]
        del upstream.sends[file[0]]
        assert d.http().get(f"/packages/{file[0]}").content == file[1]
        assert upstream.paths().count(f"/files/{file[0]}") == 1
        part = d.http().get(f"/packages/{file[0]}", headers={"Range": "bytes=-10"})
        assert part.status_code == 206 and part.content == file[1][-10:]


def test_a_part_of_what_is_not_there_yet(upstream, name):
    file = make.wheel(name, size=3 << 20)
    upstream.add(name, file)
    with mirroring(upstream.url) as d:
        part = d.http().get(f"/packages/{file[0]}", headers={"Range": "bytes=5-9"})
        assert part.status_code == 206 and part.content == file[1][5:10]


@pytest.mark.parametrize("size", [0, 3 << 20])
def test_other_content_than_was_said(upstream, name, size):
    """Nobody gets the whole of it, and nothing is kept."""
    file = make.wheel(name, size=size)
    upstream.add(name, file)
    upstream.hash_of = lambda n: "ab" * 32
    with mirroring(upstream.url) as d:
        r = d.http().get(f"/packages/{file[0]}", stream=True)
        got = b""
        try:
            got = r.raw.read()
        except Exception:
            pass
        assert r.status_code == 502 if not size else len(got) < len(file[1])
        upstream.hash_of = lambda n: sha256(upstream.files[n])
        assert d.http().get(f"/packages/{file[0]}", stream=True).status_code in (200, 502)
        assert "sent another file" in d.log.read_text()


def test_redirects_are_confined(upstream, name, tmp_path):
    """Not to another address of a private network, where it would ask in the daemon's name; and the
    credentials do not leave the index."""
    elsewhere = Upstream()
    file = make.wheel(name)
    for u in (upstream, elsewhere):
        u.add(name, file)
    upstream.add(name + "r", make.wheel(name + "r"))
    upstream.redirects[f"/simple/{name}/"] = f"{elsewhere.url}{name}/"
    upstream.redirects[f"/simple/{name}s/"] = f"/simple/{name}r/"
    upstream.redirects[f"/simple/{name}f/"] = "file:///etc/passwd"
    upstream.redirects[f"/simple/{name}l/"] = f"/simple/{name}l/"
    (tmp_path / "credentials").write_text("u:hush-hush")
    with mirroring(upstream.url, more=f"mirror_credentials: {tmp_path}/credentials") as d:
        r = page(d, name)
        assert r.status_code == 502 and "private network" in r.text
        assert not elsewhere.seen
        for tail in "fl":
            assert page(d, name + tail).status_code == 502
        assert page(d, name + "s").status_code == 200
        basic = "Basic " + base64.b64encode(b"u:hush-hush").decode()
        assert all(h["Authorization"] == basic for _, h in upstream.seen)
        upstream.url_of = lambda n: f"http://127.0.0.1:{elsewhere.server_address[1]}/files/{n}"
        upstream.add(name + "q", make.wheel(name + "q"))
        assert names(d, name + "q")
        assert d.http().get(f"/packages/{make.wheel(name + 'q')[0]}").status_code == 502
        assert not elsewhere.seen and "hush-hush" not in d.log.read_text()
    elsewhere.stop()


def test_what_cannot_be_kept(upstream, name):
    """A file over the limit, and a full disk: each says so, nothing is left, and what is kept is served."""
    kept, big, small = make.wheel(name), make.wheel(name, "2.0", size=2 << 20), make.wheel(name, "3.0")
    upstream.add(name, kept, big, small)
    with running(config=f'packages: {{mirror: "{upstream.url}", mirror_allow: ["*"]}}\nlimits: {{package: 1MiB}}\n') as d:
        assert d.http().get(f"/packages/{kept[0]}").content == kept[1]
        r = d.http().get(f"/packages/{big[0]}")
        assert r.status_code == 502 and "too large" in r.text
        (d.base / "infrafs.yml").write_text(d.config.replace("package: 1MiB", "package: 1MiB, disk_reserve: 100TiB"))
        d.restart()
        r = d.http().get(f"/packages/{small[0]}")
        assert r.status_code == 507 and r.text.count("\n") == 1
        assert d.http().get(f"/packages/{kept[0]}").content == kept[1]
        assert len(names(d, name)) == 3


def test_a_loop_ends(name, tmp_path):
    """An index that mirrors itself says that there is no such project, and asks no further."""
    port = free_port()
    (tmp_path / "credentials").write_text(f"{USER}:{PASSWORD}")
    with running(config=f'packages: {{mirror: "http://127.0.0.1:{port}/simple/", mirror_allow: ["*"], mirror_credentials: {tmp_path}/credentials}}\n',
                 arguments=["--listen", f"127.0.0.1:{port}"]) as d:
        assert page(d, name).status_code == 404
        assert d.http().get(f"/packages/{name}-1.0-py3-none-any.whl").status_code == 404


def test_a_page_that_is_none(upstream, name):
    upstream.add(name, make.wheel(name))
    upstream.page = lambda project: (TYPE, b"<html>captive portal</html>")
    with mirroring(upstream.url) as d:
        r = page(d, name)
        assert r.status_code == 502 and "a page that is none" in r.text


def kept_bytes(d):
    return float(next(line for line in d.http().get("/metrics").text.splitlines() if line.startswith("infrafs_blob_bytes ")).split()[1])


def gc(d, *arguments):
    return run(program(), "gc", *arguments, env={**os.environ, "VAULT_ADDR": d.url, "VAULT_TOKEN": d.root_token}).text


def test_what_was_not_asked_for_longest_goes(upstream, name):
    files = [make.wheel(name, f"{i}.0", size=300_000) for i in range(4)]
    upstream.add(name, *files)
    for n, _ in files:
        upstream.metadata[n] = b"Metadata-Version: 2.1\n"
    with mirroring(upstream.url, more="mirror_size: 1MiB}\nimages: {gc_grace: 0") as d:
        s = d.http()

        def get(i):
            assert s.get(f"/packages/{files[i][0]}").content == files[i][1]
            assert s.get(f"/packages/{files[i][0]}.metadata").content == b"Metadata-Version: 2.1\n"
        for i in range(3):
            get(i)
        get(0)  # so 1 is the oldest, behind a restart too
        d.restart()
        s = d.http()
        assert "removed 0 mirrored files" in gc(d)
        get(3)
        before = kept_bytes(d)
        said = gc(d, "--dry-run")
        assert f"would remove mirrored file {files[1][0]} of " in said and "would remove 1 mirrored files of 3" in said, said
        said = gc(d)
        assert f"removed mirrored file {files[1][0]} of " in said and "removed 1 mirrored files of 3" in said and "; 3 of 9" in said, said
        assert 300_000 < before - kept_bytes(d) < 310_000
        assert "removed 0 mirrored files" in gc(d)
        seen = len(upstream.paths())
        for i in (0, 2, 3):
            get(i)
        assert len(upstream.paths()) == seen and names(d, name) == [n for n, _ in files]
        get(1)  # it is listed, and comes again
        assert f"/files/{files[1][0]}" in upstream.paths()[seen:] and "removed mirrored file " + files[0][0] in gc(d)


def test_what_nobody_asks_for_goes(upstream, name):
    kept, own = make.wheel(name), make.wheel(name + "-own")
    upstream.add(name, kept)
    with mirroring(upstream.url) as d:
        upload(d, own)
        s = d.http()
        assert s.get(f"/packages/{kept[0]}").content == kept[1]
        assert "mirrored" not in gc(d)  # there is no rule
        config = d.base / "infrafs.yml"
        d.config = config.read_text().replace(', }', ', mirror_keep: 1ms}\nimages: {gc_grace: 0}')
        config.write_text(d.config)
        d.restart()
        s = d.http()
        assert f"removed mirrored file {kept[0]}" in gc(d)
        upstream.broken = True
        assert s.get(f"/packages/{kept[0]}").status_code == 502 and s.get(f"/packages/{own[0]}").content == own[1]
        assert names(d, name) == [kept[0]]
        upstream.broken = False
        d.restart()  # a moment ago it did not answer
        assert d.http().get(f"/packages/{kept[0]}").content == kept[1]


def test_read_while_it_goes(upstream, name):
    """No reader hears that a file is gone: it is there, or it comes again."""
    files = [make.wheel(name, f"{i}.0", size=50_000) for i in range(4)]
    upstream.add(name, *files)
    with mirroring(upstream.url, more="mirror_keep: 1ms}\nimages: {gc_grace: 1s") as d:
        stop, wrong = threading.Event(), []

        def read(i):
            s = d.http()
            while not stop.is_set():
                r = s.get(f"/packages/{files[i][0]}")
                if r.status_code != 503 and r.content != files[i][1]:
                    wrong.append((r.status_code, r.text[:200]))
        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        said = "".join(gc(d) for _ in range(20))
        stop.set()
        for t in threads:
            t.join()
        assert not wrong and "removed mirrored file" in said, (wrong[:3], said)
