"""Uploads with the real twine, and what it makes of the answers."""
import concurrent.futures
import hashlib
import http.client
import os
import re
import socket
import threading

import pytest
import make
from conftest import need, run, running, wait_for

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


def write(folder, file):
    name, content = file
    (folder / name).write_bytes(content)
    return folder / name


def twine(daemon, *files, ok=True, user=None, password=None):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return run(need("twine"), "upload", "--verbose", "--non-interactive", "--disable-progress-bar", "--repository-url", f"{daemon.url}/",
               "-u", user or daemon.user, "-p", password or daemon.password, *files, ok=ok, env=env)


def project(daemon, name):
    return daemon.http().get(f"/simple/{name}/", headers=JSON)


def form(file, **changes):
    """The form of an upload for requests; a field set to None is left out."""
    name, content = file
    stem = name.split("-")
    fields = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": stem[0],
              "version": stem[1] if name.endswith(".whl") else re.match(r".*-(.*)\.tar\.gz", name).group(1),
              "filetype": "bdist_wheel" if name.endswith(".whl") else "sdist",
              "pyversion": "py3" if name.endswith(".whl") else "source",
              "sha256_digest": hashlib.sha256(content).hexdigest()}
    fields.update({k.replace("action", ":action"): v for k, v in changes.items()})
    return {"data": {k: v for k, v in fields.items() if v is not None}, "files": {"content": (name, content)}}


def test_upload(daemon, name, tmp_path):
    wheel, sdist = make.wheel(name, metadata="Requires-Python: >=3.6\n"), make.sdist(name)
    twine(daemon, write(tmp_path, wheel), write(tmp_path, sdist))
    page = project(daemon, name).json()
    assert {f["filename"] for f in page["files"]} == {wheel[0], sdist[0]}
    assert page["versions"] == ["1.0"]
    for f in page["files"]:
        content = dict([wheel, sdist])[f["filename"]]
        assert f["hashes"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert f["size"] == len(content)
        assert daemon.http().get("/packages/" + f["filename"]).content == content
    assert page["files"][0]["requires-python"] == ">=3.6"


def test_same_bytes_again(daemon, name, tmp_path):
    path = write(tmp_path, make.wheel(name))
    twine(daemon, path)
    twine(daemon, path)
    assert len(project(daemon, name).json()["files"]) == 1


def test_other_bytes_are_refused(daemon, name, tmp_path):
    first, other = make.wheel(name), make.wheel(name, files={f"{name}/x.py": b"other"})
    twine(daemon, write(tmp_path, first))
    refused = twine(daemon, write(tmp_path, other), ok=False)
    assert refused.returncode != 0
    assert "File already exists" in " ".join(refused.text.split())
    assert daemon.http().get(f"/packages/{first[0]}").content == first[1]


def test_wrong_password(daemon, name, tmp_path):
    path = write(tmp_path, make.wheel(name))
    refused = twine(daemon, path, ok=False, password="wrong")
    assert refused.returncode != 0 and "401" in refused.text
    assert twine(daemon, path, ok=False, user="nobody").returncode != 0
    assert project(daemon, name).status_code == 404


def test_token_as_password(daemon, name, tmp_path):
    twine(daemon, write(tmp_path, make.wheel(name)), user="__token__", password=daemon.root_token)
    assert project(daemon, name).status_code == 200


def test_no_credentials_before_the_body(daemon, name):
    """Refused at the headers: a client that waits for 100-continue never sends its body."""
    with socket.create_connection(("127.0.0.1", daemon.port), 10) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                  b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
        answer = s.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b'Basic realm="pypi"' in answer


BAD = {
    "not a zip": lambda n: (f"{n}-1.0-py3-none-any.whl", b"hello"),
    "empty": lambda n: (f"{n}-1.0-py3-none-any.whl", b""),
    "cut": lambda n: (make.wheel(n)[0], make.wheel(n)[1][:-30]),
    "trailing data": lambda n: (make.wheel(n)[0], make.wheel(n)[1] + b"x"),
    "of another project": lambda n: (f"{n}-1.0-py3-none-any.whl", make.wheel("other")[1]),
    "of another version": lambda n: (f"{n}-1.0-py3-none-any.whl", make.wheel(n, "2.0")[1]),
    "sdist that is a wheel": lambda n: (f"{n}-1.0.tar.gz", make.wheel(n)[1]),
    "sdist cut": lambda n: (make.sdist(n)[0], make.sdist(n)[1][:-5]),
    "bad Requires-Python": lambda n: make.wheel(n, metadata="Requires-Python: three\n"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files(daemon, name, what):
    file = BAD[what](name)
    r = daemon.http().post("/", **form(file))
    assert r.status_code == 400, r.text
    assert len(r.text.strip().splitlines()) == 1 and r.text.strip()
    assert project(daemon, name).status_code == 404
    assert daemon.http().get(f"/packages/{file[0]}").status_code == 404
    assert not (daemon.mount / "packages" / file[0]).exists()


def test_wrong_digest(daemon, name):
    for field, value in (("sha256_digest", "0" * 64), ("blake2_256_digest", "0" * 64), ("md5_digest", "0" * 32)):
        r = daemon.http().post("/", **form(make.wheel(name), **{field: value}))
        assert r.status_code == 400 and field in r.text
    assert project(daemon, name).status_code == 404


def test_refused_in_the_middle(daemon, name):
    """However much of the form follows, the client hears why."""
    r = daemon.http().post("/", **form(make.wheel(name), description="x" * (20 << 20)))
    assert r.status_code == 413 and "form_field_bytes" in r.text
    r = daemon.http().post("/", **form((f"{name}-1.0-py3-none-any.whl", bytes(20 << 20))))
    assert r.status_code == 400 and "does not begin as a zip archive" in r.text
    r = daemon.http().post("/", **form((f"{name}-1.0-py3-none.whl", bytes(20 << 20))))
    assert r.status_code == 400 and "is not that of a wheel" in r.text
    assert project(daemon, name).status_code == 404


def test_race(daemon, name):
    """Of eight uploads of one name with different bytes exactly one succeeds."""
    files = [make.wheel(name, files={"x": bytes([i])}) for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda f: daemon.http().post("/", **form(f)).status_code, files))
    assert sorted(codes) == [200] + [400] * 7
    assert daemon.http().get(f"/packages/{files[0][0]}").content == files[codes.index(200)][1]


def cut_upload(daemon, file, share):
    """Sends a part of an upload and goes away."""
    import requests
    body = requests.Request("POST", daemon.url + "/", auth=daemon.auth, **form(file)).prepare()
    c = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    c.putrequest("POST", "/")
    for k, v in body.headers.items():
        c.putheader(k, v)
    c.endheaders()
    c.send(body.body[:int(len(body.body) * share)])
    return c


def test_client_goes_away(daemon, name):
    file = make.wheel(name, size=3 << 20)
    for share in (0.1, 0.5, 0.999):
        cut_upload(daemon, file, share).close()
    assert project(daemon, name).status_code == 404
    assert daemon.http().post("/", **form(file)).status_code == 200
    assert daemon.http().get(f"/packages/{file[0]}").content == file[1]


def test_kill_in_an_upload(name):
    """Nothing half-visible; what was acknowledged is there; the next start takes uploads at once."""
    with running() as d:
        kept, cut = make.wheel(name), make.wheel(name, "2.0", size=6 << 20)
        assert d.http().post("/", **form(kept)).status_code == 200
        connections = [cut_upload(d, cut, share) for share in (0.3, 0.9)]
        d.kill9()
        for c in connections:
            c.close()
        d.start()
        page = project(d, name).json()
        assert [f["filename"] for f in page["files"]] == [kept[0]]
        assert d.http().get(f"/packages/{kept[0]}").content == kept[1]
        assert os.listdir(d.mount / "packages" / name) == [kept[0]]
        assert d.http().post("/", **form(cut)).status_code == 200
        assert d.http().get(f"/packages/{cut[0]}").content == cut[1]


def test_kill_under_load(name):
    """Uploads until the daemon is killed: each that was answered is there, whole and listed."""
    with running(mount=False) as d:
        done = []
        stop = threading.Event()

        def upload(i):
            session = d.http()
            for k in range(1000):
                file = make.wheel(f"{name}{i}", f"1.{k}")
                try:
                    if stop.is_set() or session.post("/", **form(file)).status_code != 200:
                        return
                except OSError:
                    return
                done.append((f"{name}{i}", file))

        threads = [threading.Thread(target=upload, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        wait_for(lambda: len(done) > 20, what="uploads")
        d.kill9()
        stop.set()
        for t in threads:
            t.join()
        d.start()
        session = d.http()
        listed = {p["name"] for p in session.get("/simple/", headers=JSON).json()["projects"]}
        for p, (file, content) in done:
            assert p in listed
            assert session.get(f"/packages/{file}").content == content
        for p in listed:
            for f in session.get(f"/simple/{p}/", headers=JSON).json()["files"]:
                content = session.get(f"/packages/{f['filename']}").content
                assert hashlib.sha256(content).hexdigest() == f["hashes"]["sha256"]


def test_remove(daemon, name, tmp_path):
    twine(daemon, write(tmp_path, make.wheel(name)), write(tmp_path, make.sdist(name)), write(tmp_path, make.wheel(name, "1.1")))
    gone = {":action": (None, "remove_pkg"), "name": (None, name), "version": (None, "1.0")}
    assert daemon.http(auth=False).post("/", files=gone).status_code == 401
    assert daemon.http().post("/", files=gone).status_code == 200
    assert project(daemon, name).json()["versions"] == ["1.1"]
    assert os.listdir(daemon.mount / "packages" / name) == [make.wheel(name, "1.1")[0]]
