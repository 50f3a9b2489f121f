"""Packages as files: cp, rm, zipfile and the rest, and that every door shows the same."""
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import zipfile

import pytest
import make
from conftest import need, run, running, wait_for
from test_pip import upload
from test_twine import JSON, form


def write(folder, file):
    (folder / file[0]).write_bytes(file[1])
    return folder / file[0]


def listed(daemon, name):
    r = daemon.http().get(f"/simple/{name}/", headers=JSON)
    return [f["filename"] for f in r.json()["files"]] if r.status_code == 200 else None


def test_cp_publishes(daemon, name, tmp_path):
    packages = daemon.mount / "packages"
    wheel, sdist, big = make.wheel(name), make.sdist(name), make.wheel(name, "2.0", size=6 << 20)
    for f in (wheel, sdist, big):
        run("cp", write(tmp_path, f), packages)
        assert f[0] in listed(daemon, name)
        for path in (packages / f[0], packages / name / f[0], packages / name.upper() / f[0], packages / "@all" / f[0]):
            assert path.read_bytes() == f[1]
            assert path.stat().st_size == len(f[1])
        assert daemon.http().get(f"/packages/{f[0]}").content == f[1]
    assert sorted(os.listdir(packages / name)) == sorted([wheel[0], sdist[0], big[0]])
    assert name in os.listdir(packages) and wheel[0] not in os.listdir(packages)
    assert wheel[0] in os.listdir(packages / "@all")


def test_cp_again(daemon, name, tmp_path):
    packages = daemon.mount / "packages"
    path = write(tmp_path, make.wheel(name))
    run("cp", path, packages)
    run("cp", path, packages)
    run("cp", "-p", path, packages / name)
    other = write(tmp_path, make.wheel(name, files={"x": b"y"}))
    refused = run("cp", other, packages, ok=False)
    assert refused.returncode != 0 and "File exists" in refused.text
    assert (packages / path.name).read_bytes() == make.wheel(name)[1]


@pytest.mark.parametrize("how", ["cp", "cp -p", "install -m 644", "rsync", "mv", "cat >", "dd"])
def test_tools(daemon, name, tmp_path, how):
    packages = daemon.mount / "packages"
    file = make.wheel(name, size=300000)
    path = write(tmp_path, file)
    if how == "cat >":
        run("sh", "-c", f"cat {path} > {packages / path.name}")
    elif how == "dd":
        run("dd", f"if={path}", f"of={packages / path.name}", "bs=10000")
    else:
        need(how.split()[0])
        run(*how.split(), path, f"{packages}/")
    assert (packages / name / path.name).read_bytes() == file[1]
    assert listed(daemon, name) == [path.name]


def test_zipfile_writes_into_the_mount(daemon, name):
    """zipfile goes back to patch its headers: no write in order."""
    target = daemon.mount / "packages" / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        with z.open(f"{name}/data", "w") as f:
            for i in range(200):
                f.write(os.urandom(1000))
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        z.writestr(f"{info}/RECORD", "")
    assert listed(daemon, name) == [target.name]
    with zipfile.ZipFile(target) as z:
        assert z.testzip() is None


def test_refusals(daemon, name, tmp_path):
    packages = daemon.mount / "packages"

    def refused(file, to=packages, says="Invalid argument"):
        r = run("cp", write(tmp_path, file), to, ok=False)
        assert r.returncode != 0 and says in r.text, r.text
        assert listed(daemon, name) is None
        assert not (packages / file[0]).exists()

    wheel = make.wheel(name)
    refused((f"{name}.whl", wheel[1]))
    refused((f"{name}-1.0-py3-none-any.whl", b"hello"))
    refused((wheel[0], wheel[1][:-1]))
    refused((wheel[0], wheel[1] + b"x"))
    refused((f"{name}-2.0-py3-none-any.whl", wheel[1]))
    refused(("notes.txt", b"hello"), says="")
    assert "hello" not in run("ls", "-R", packages).text
    # the shell hears of a failed write only: the first bytes tell
    assert run("sh", "-c", f"echo hello > {packages}/{wheel[0]}", ok=False).returncode != 0
    with pytest.raises(OSError) as e:
        (packages / "a-1.0.exe").write_bytes(b"")
    assert e.value.errno in (errno.EINVAL, errno.EROFS)


def test_the_reason_is_told(daemon, name, tmp_path):
    run("cp", write(tmp_path, (f"{name}-2.0-py3-none-any.whl", make.wheel(name)[1])), daemon.mount / "packages", ok=False)
    assert f"{name}-1.0.dist-info" in (daemon.mount / ".infra" / "errors").read_text()


def test_committed_files_are_immutable(daemon, name, tmp_path):
    path = daemon.mount / "packages" / name / write(tmp_path, make.wheel(name)).name
    run("cp", tmp_path / path.name, daemon.mount / "packages")
    content = path.read_bytes()
    for mode in ("ab", "r+b"):
        with pytest.raises(OSError):
            with open(path, mode, buffering=0) as f:
                f.write(b"x")
    with pytest.raises(OSError):
        os.truncate(path, 10)
    with pytest.raises(OSError):
        os.rename(path, path.with_name(path.name.replace("1.0", "2.0")))
    os.chmod(path, 0o644)
    os.utime(path)
    assert path.read_bytes() == content


def test_rm(daemon, name, tmp_path):
    packages = daemon.mount / "packages"
    for version in ("1.0", "1.1", "1.2"):
        run("cp", write(tmp_path, make.wheel(name, version)), packages)
    first, second, third = (make.wheel(name, v)[0] for v in ("1.0", "1.1", "1.2"))
    run("rm", packages / name / first)
    assert listed(daemon, name) == [second, third]
    assert daemon.http().get(f"/packages/{first}").status_code == 404
    assert not (packages / first).exists() and first not in os.listdir(packages / "@all")
    run("rm", packages / second)
    assert os.listdir(packages / name) == [third]
    run("rm", "-r", packages / name)
    assert listed(daemon, name) is None
    assert not (packages / name).exists() and name not in os.listdir(packages)
    run("cp", tmp_path / first, packages)
    assert listed(daemon, name) == [first]


def test_undelete(daemon, name, tmp_path):
    """`mv` out of the trash publishes the very file again."""
    packages, trash = daemon.mount / "packages", daemon.mount / ".infra" / "trash"
    file = make.wheel(name)
    upload(daemon, file)
    before = daemon.http().get(f"/simple/{name}/", headers=JSON).json()
    run("rm", "-r", packages / name)
    assert listed(daemon, name) is None
    entry = next(p for p in trash.glob(f"*/{file[0]}"))
    assert entry.read_bytes() == file[1]
    run("mv", entry, packages)
    assert daemon.http().get(f"/simple/{name}/", headers=JSON).json() == before
    assert (packages / name / file[0]).read_bytes() == file[1]
    assert not list(trash.glob(f"*/{file[0]}"))


def test_one_spelling(daemon, name, tmp_path):
    """A name that differs from a file's only by case, dots and dashes is that file's."""
    packages, trash = daemon.mount / "packages", daemon.mount / ".infra" / "trash"
    file = make.wheel(name)
    other = (file[0].replace(name, name.capitalize()), make.wheel(name, files={"x": b"y"})[1])
    (tmp_path / file[0]).write_bytes(file[1])
    (tmp_path / other[0]).write_bytes(other[1])
    run("cp", tmp_path / file[0], packages)
    r = run("cp", tmp_path / other[0], packages, ok=False)
    assert r.returncode != 0 and "File exists" in r.text
    assert f"File already exists ('{other[0]}'), as '{file[0]}'" in (daemon.mount / ".infra" / "errors").read_text()
    assert listed(daemon, name) == [file[0]]
    run("rm", packages / name / file[0])
    run("cp", tmp_path / other[0], packages)
    assert run("mv", next(p for p in trash.glob(f"*/{file[0]}")), packages, ok=False).returncode != 0
    assert listed(daemon, name) == [other[0]]


def test_changes_over_http_show_at_once(daemon, name):
    packages = daemon.mount / "packages"
    for i in range(30):
        file = make.wheel(name, f"1.{i}")
        assert not (packages / file[0]).exists() and not (packages / name / file[0]).exists()
        upload(daemon, file)
        assert (packages / name / file[0]).read_bytes() == file[1]
        assert (packages / file[0]).exists()
        assert len(os.listdir(packages / name)) == i + 1
        assert file[0] in (packages / name / "@simple.json").read_text()
    daemon.http().post("/", files={":action": (None, "remove_pkg"), "name": (None, name), "version": (None, "1.0")})
    assert not (packages / make.wheel(name, "1.0")[0]).exists()
    assert len(os.listdir(packages / name)) == 29


def test_computed_files(daemon, name):
    file = make.wheel(name)
    upload(daemon, file)
    folder = daemon.mount / "packages" / name
    s = daemon.http()
    assert (folder / "@simple.html").read_bytes() == s.get(f"/simple/{name}/", headers={"Accept": "text/html"}).content
    assert (folder / "@simple.json").read_bytes() == s.get(f"/simple/{name}/", headers=JSON).content
    assert (folder / "@sha256sums").read_text() == f"{hashlib.sha256(file[1]).hexdigest()}  {file[0]}\n"
    run("sh", "-c", f"cd {folder} && sha256sum -c @sha256sums")
    assert (folder / "@metadata" / file[0]).read_bytes() == s.get(f"/packages/{file[0]}.metadata").content
    assert os.getxattr(folder / file[0], "user.pypi.sha256").decode() == hashlib.sha256(file[1]).hexdigest()
    assert os.listdir(folder) == [file[0]]


def test_contents(daemon, name, tmp_path):
    """The inside of a wheel and of an sdist, as zipfile and tarfile see them."""
    wheel, sdist = make.wheel(name, files={f"{name}/deep/er/data.txt": b"here", f"{name}/big": os.urandom(3 << 20)}), make.sdist(name)
    upload(daemon, wheel, sdist)
    contents = daemon.mount / "packages" / name / "@contents"
    assert sorted(os.listdir(contents)) == sorted([wheel[0], sdist[0]])

    def files(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    with zipfile.ZipFile(write(tmp_path, wheel)) as z:
        assert files(contents / wheel[0]) == {n: z.read(n) for n in z.namelist()}
    with tarfile.open(write(tmp_path, sdist)) as t:
        assert files(contents / sdist[0]) == {m.name: t.extractfile(m).read() for m in t.getmembers() if m.isfile()}
    run("grep", "-rq", "here", contents / wheel[0])
    with pytest.raises(OSError):
        (contents / wheel[0] / "new").write_bytes(b"")


def test_copies_of_the_tree_end(daemon, name, tmp_path):
    upload(daemon, make.wheel(name), make.sdist(name))
    shutil.copytree(daemon.mount / "packages" / name, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == sorted([make.wheel(name)[0], make.sdist(name)[0]])


def test_mkdir_and_cp_r(daemon, name, tmp_path):
    (tmp_path / name).mkdir()
    write(tmp_path / name, make.wheel(name))
    run("cp", "-r", tmp_path / name, daemon.mount / "packages")
    assert listed(daemon, name) == [make.wheel(name)[0]]
    (daemon.mount / "packages" / f"{name}-empty").mkdir()
    assert listed(daemon, f"{name}-empty") is None
    (daemon.mount / "packages" / f"{name}-empty").rmdir()


def test_a_killed_writer_leaves_nothing(daemon, name):
    target = daemon.mount / "packages" / f"{name}-1.0-py3-none-any.whl"
    content = make.wheel(name, size=4 << 20)[1]
    for sig in (signal.SIGKILL, signal.SIGTERM):
        writer = subprocess.Popen(["sh", "-c", f"exec cat > {target}"], stdin=subprocess.PIPE)
        writer.stdin.write(content[:-100])
        writer.stdin.flush()
        wait_for(lambda: target.stat().st_size > 0, what="the first bytes")
        writer.send_signal(sig)
        writer.wait()
        writer.stdin.close()
        wait_for(lambda: not target.exists(), what="the end of the writer")
        assert listed(daemon, name) is None
    target.write_bytes(content)
    assert listed(daemon, name) == [target.name]


def test_kill_in_a_cp(name):
    """The daemon dies in the middle of a cp: nothing half-visible, and the next start takes it."""
    with running() as d:
        file = make.wheel(name, size=8 << 20)
        kept = make.wheel(name, "0.9")
        (d.mount / "packages" / kept[0]).write_bytes(kept[1])
        f = open(d.mount / "packages" / file[0], "wb", buffering=0)
        f.write(file[1][:5 << 20])
        d.kill9()
        with pytest.raises(OSError):
            f.close()
            f.write(b"x")
        d.start()
        assert listed(d, name) == [kept[0]]
        assert (d.mount / "packages" / kept[0]).read_bytes() == kept[1]
        (d.mount / "packages" / file[0]).write_bytes(file[1])
        assert d.http().get(f"/packages/{file[0]}").content == file[1]
