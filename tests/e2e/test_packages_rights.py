"""Rights by project and verb, users who may only read, tokens; yanks and the status of a project through
the API, the mount and the command line; what comes beside a file."""
import base64
import hashlib
import json
import os
import sys
from urllib.parse import urljoin

import pytest
import make
from conftest import need, program, run
from test_pip import index, installed, pip, upload
from test_twine import JSON, form, project, twine, write


def infrafs(daemon, *arguments, ok=True):
    env = {"PATH": os.environ["PATH"], "INFRAFS_TOKEN": daemon.root_token, "INFRAFS_ADDR": daemon.url}
    return run(program(), *arguments, ok=ok, env=env)


def policy(daemon, name, text):
    (daemon.mount / ".infra/policies" / f"{name}.hcl").write_text(text)


def token(daemon, *policies):
    r = daemon.vault("POST", "auth/token/create", json={"policies": list(policies), "no_default_policy": True})
    return r.json()["auth"]["client_token"]


# what each right lets one do: (verb, list, download, upload, yank, delete); the status asked for is 403 without
VERBS = {
    "list": ("list", 200, 403, 403, 403, 403),
    "read": ("read", 200, 200, 403, 403, 403),  # the index of what one may read
    "create": ("create", 200, 403, 200, 403, 403),
    "update": ("update", 200, 403, 403, 200, 403),
    "delete": ("delete", 200, 403, 403, 403, 200),
}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_alone(daemon, name, verb):
    right, list_, download, upload_, yank, delete = VERBS[verb]
    upload(daemon, make.wheel(name), make.wheel(name + "other"))
    policy(daemon, f"p-{name}", f'path "packages/{name}" {{ capabilities = ["{right}"] }}\npath "packages/" {{ capabilities = ["list"] }}\n')
    s = daemon.http()
    s.auth = ("__token__", token(daemon, f"p-{name}"))
    file = make.wheel(name)[0]
    assert s.get("/simple/").status_code == list_
    assert s.get(f"/simple/{name}/").status_code == download
    assert s.get(f"/packages/{file}").status_code == download
    assert s.post("/", **form(make.wheel(name, "2.0"))).status_code == upload_
    assert s.patch(f"/packages/{file}", json={"yanked": True}).status_code == yank
    assert s.delete(f"/packages/{file}").status_code == delete
    other = make.wheel(name + "other")[0]
    assert s.get(f"/packages/{other}").status_code == s.delete(f"/packages/{other}").status_code == 403
    assert s.post("/", **form(make.wheel(name + "other", "2.0"))).status_code == 403
    assert daemon.http().get(f"/packages/{other}").status_code == 200


def test_a_user_who_may_only_read(daemon, name, tmp_path):
    """The policy user-<name> stands in place of team, from the next request on, and for the user's tokens."""
    upload(daemon, make.wheel(name))
    daemon.add_user("bob", "pass of bob")
    bob = daemon.http()
    bob.auth = ("bob", "pass of bob")
    assert bob.post("/", **form(make.wheel(name, "2.0"))).status_code == 200
    policy(daemon, "user-bob", 'path "packages/*" { capabilities = ["read", "list"] }\npath "auth/token/create" { capabilities = ["update"] }\n')
    assert bob.get(f"/simple/{name}/").status_code == 200
    r = bob.post("/", **form(make.wheel(name, "3.0")))
    assert r.status_code == 403 and "may not create" in r.text
    refused = twine(daemon, write(tmp_path, make.wheel(name, "3.0")), ok=False, user="bob", password="pass of bob")
    assert refused.returncode != 0 and "403" in refused.text
    assert bob.delete(f"/packages/{make.wheel(name)[0]}").status_code == 403
    login = daemon.vault("POST", "auth/userpass/login/bob", token="", json={"password": "pass of bob"}).json()["auth"]
    assert "team" not in login["policies"] and "user-bob" in login["policies"]
    s = daemon.http()
    s.auth = ("__token__", login["client_token"])
    assert s.post("/", **form(make.wheel(name, "3.0"))).status_code == 403 and s.get(f"/simple/{name}/").status_code == 200
    pip("install", "--index-url", f"http://bob:pass%20of%20bob@{daemon.host}/simple/", "--target", tmp_path / "t", "--no-cache-dir", name)
    assert installed(tmp_path / "t") == {name: "2.0"}
    run("rm", daemon.mount / ".infra/policies/user-bob.hcl")
    assert bob.post("/", **form(make.wheel(name, "3.0"))).status_code == 200


def test_yank_by_command(daemon, name, tmp_path):
    upload(daemon, make.wheel(name), make.wheel(name, "1.1"), make.sdist(name, "1.1"))

    def yanked():
        return {f["filename"]: f["yanked"] for f in project(daemon, name).json()["files"]}

    infrafs(daemon, "yank", f"{name}==1.1", "--reason", "loses data")
    assert yanked() == {make.wheel(name)[0]: False, make.wheel(name, "1.1")[0]: "loses data", make.sdist(name, "1.1")[0]: "loses data"}
    assert os.getxattr(daemon.mount / "packages" / make.wheel(name, "1.1")[0], "user.pypi.yanked") == b"loses data"
    pip("install", "--index-url", index(daemon), "--target", tmp_path / "t", "--no-cache-dir", "--only-binary", ":all:", name)
    assert installed(tmp_path / "t") == {name: "1.0"}
    infrafs(daemon, "unyank", make.wheel(name, "1.1")[0])
    assert yanked()[make.wheel(name, "1.1")[0]] is False
    infrafs(daemon, "yank", make.wheel(name)[0])
    assert yanked()[make.wheel(name)[0]] is True
    refused = infrafs(daemon, "yank", f"{name}==9", ok=False)
    assert refused.returncode == 66 and "has no files" in refused.text


def test_status_of_a_project(daemon, name, tmp_path):
    """By command, by xattr and by the API; what is archived takes no file through any door."""
    upload(daemon, make.wheel(name))
    folder = daemon.mount / "packages" / name

    def status():
        return project(daemon, name).json()["project-status"]

    infrafs(daemon, "project", "status", name, "archived", "--reason", "use the other")
    assert status() == {"status": "archived", "reason": "use the other"}
    assert os.getxattr(folder, "user.pypi.status") == b"archived: use the other"
    r = daemon.http().post("/", **form(make.wheel(name, "2.0")))
    assert r.status_code == 403 and "is archived: use the other" in r.text
    refused = run("cp", write(tmp_path, make.wheel(name, "2.0")), folder, ok=False)
    assert refused.returncode != 0 and "Permission denied" in refused.text
    assert "is archived" in (daemon.mount / ".infra/errors").read_text()
    os.setxattr(folder, "user.pypi.status", b"quarantined")
    assert status() == {"status": "quarantined"} and project(daemon, name).json()["files"] == []
    assert 'content="quarantined"' in (folder / "@simple.html").read_text()
    assert daemon.http().get(f"/packages/{make.wheel(name)[0]}").status_code == 403
    with pytest.raises(PermissionError):
        (folder / make.wheel(name)[0]).read_bytes()
    assert make.wheel(name)[0] not in os.listdir(daemon.mount / "packages/@all")
    assert pip("download", "--index-url", index(daemon), "--no-cache-dir", "-d", tmp_path, name, ok=False).returncode != 0
    with pytest.raises(OSError):
        os.setxattr(folder, "user.pypi.status", b"dead")
    os.removexattr(folder, "user.pypi.status")
    assert status() == {"status": "active"}
    with pytest.raises(OSError):
        os.getxattr(folder, "user.pypi.status")
    upload(daemon, make.wheel(name, "2.0"))
    assert infrafs(daemon, "project", "status", "none-" + name, "archived", ok=False).returncode != 0


def test_signature_and_attestations(daemon, name):
    file = make.wheel(name)
    statement = base64.b64encode(json.dumps({
        "_type": "https://in-toto.io/Statement/v1", "subject": [{"name": file[0], "digest": {"sha256": hashlib.sha256(file[1]).hexdigest()}}],
        "predicateType": "https://docs.pypi.org/attestations/publish/v1", "predicate": None}).encode()).decode()
    attestation = {"version": 1, "verification_material": {"certificate": "MIIB", "transparency_entries": [{}]},
                   "envelope": {"statement": statement, "signature": "MEUC"}}
    signature = b"-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
    upload_ = form(file, attestations=json.dumps([attestation]))
    upload_["files"]["gpg_signature"] = (file[0] + ".asc", signature)
    assert daemon.http().post("/legacy/", **upload_).status_code == 200
    shown = project(daemon, name).json()["files"][0]
    assert shown["gpg-sig"] is True
    provenance = daemon.http().get(urljoin(f"{daemon.url}/simple/{name}/", shown["provenance"]))
    assert provenance.headers["Content-Type"] == "application/vnd.pypi.integrity.v1+json"
    assert provenance.json()["attestation_bundles"][0]["attestations"] == [attestation]
    assert daemon.http().get(f"/packages/{file[0]}.asc").content == signature
    again = form(file, attestations="[{}]")
    assert daemon.http().post("/legacy/", **again).status_code == 400
    daemon.restart()
    assert daemon.http().get(f"/packages/{file[0]}.asc").content == signature


def test_import_from_a_folder_and_export(daemon, name, tmp_path):
    old, out = tmp_path / "old", tmp_path / "out"
    (old / "deep").mkdir(parents=True)
    files = [make.wheel(name), make.sdist(name), make.wheel(name + "b", size=2 << 20)]
    write(old, files[0]), write(old, files[1]), write(old / "deep", files[2])
    write(old, (f"{name}-9.0-py3-none-any.whl", b"not a wheel")), write(old, ("notes.txt", b"x"))
    r = infrafs(daemon, "import", "pypi", old, ok=False)
    assert r.returncode == 65 and "3 files imported, 0 were there, 1 failed" in r.text and f"{name}-9.0" in r.text
    for file, content in files:
        assert daemon.http().get(f"/packages/{file}").content == content
    assert "0 files imported, 3 were there, 1 failed" in infrafs(daemon, "import", "pypi", old, ok=False).text
    infrafs(daemon, "export", "pypi", out)
    for file, content in files:
        assert (out / file).read_bytes() == content
    assert not list(out.glob(".*"))
    assert "0 files exported" in infrafs(daemon, "export", "pypi", out).text


def test_import_from_an_index(daemon, name, tmp_path, own_daemon):
    """From a password, in ~/.netrc; yanks come along; a second run has nothing to do."""
    upload(own_daemon, make.wheel(name), make.wheel(name, "1.1"), make.sdist(name))
    own_daemon.http().patch(f"/packages/{make.wheel(name)[0]}", json={"yanked": "old"})
    (tmp_path / ".netrc").write_text(f'machine 127.0.0.1 login {own_daemon.user} password "{own_daemon.password}"\n')
    env = {"PATH": os.environ["PATH"], "INFRAFS_TOKEN": daemon.root_token, "INFRAFS_ADDR": daemon.url, "HOME": str(tmp_path)}
    r = run(program(), "import", "pypi", f"{own_daemon.url}/simple", env=env)
    assert "3 files imported, 0 were there, 0 failed" in r.text
    page = project(daemon, name).json()
    assert {f["filename"]: (f["yanked"], f["hashes"]["sha256"]) for f in page["files"]} == \
        {f["filename"]: (f["yanked"], f["hashes"]["sha256"]) for f in project(own_daemon, name).json()["files"]}
    assert "0 files imported, 3 were there" in run(program(), "import", "pypi", f"{own_daemon.url}/simple", env=env).text
    assert run(program(), "import", "pypi", f"{own_daemon.url}/none", env=env, ok=False).returncode != 0


@pytest.mark.parametrize("how", ["the wheel", "its contents"])
def test_a_pure_wheel_is_imported_from_the_mount(daemon, name, how):
    file = make.wheel(name, files={f"{name}/part.py": b"X = 42\n"})
    upload(daemon, file)
    folder = daemon.mount / "packages" / name
    path = folder / file[0] if how == "the wheel" else folder / "@contents" / file[0]
    r = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); import {name}.part as p; print(p.X, p.__file__)")
    assert r.text.startswith(f"42 {path}")


def test_a_writer_as_scp_is(daemon, name):
    """Written in place, cut to its size, given a mode and times, and closed; and a second writer that gives up."""
    content = make.wheel(name, size=200000)
    path = daemon.mount / "packages" / content[0]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.ftruncate(fd, 0)
    for at in range(0, len(content[1]), 32768):
        os.write(fd, content[1][at:at + 32768])
    os.ftruncate(fd, len(content[1]))
    os.fchmod(fd, 0o640)
    os.utime(fd, (1, 1))
    os.close(fd)
    assert [f["filename"] for f in project(daemon, name).json()["files"]] == [content[0]]
    assert (daemon.mount / "packages" / name / content[0]).read_bytes() == content[1]
