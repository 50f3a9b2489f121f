"""rootfs/ of images in the mount: what real tools pack, real tools read, and what is in it runs."""
import gzip
import json
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import tempfile

import make
import pytest
from conftest import need, run, running


def packed(folder, how="gzip"):
    """A layer of all that is in the folder, by GNU tar."""
    tar = run("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-C", folder, "-cf", folder.parent / "layer.tar", ".")
    assert tar.returncode == 0
    content = (folder.parent / "layer.tar").read_bytes()
    if how == "gzip":
        return gzip.compress(content, 6, mtime=0)
    return subprocess.run([need("zstd"), "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout if how == "zstd" else content


def push(daemon, repo, tag, *layers):
    image = make.Image()
    image.layers = list(layers)
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"] = [make.digest(b) for b in layers]
    image.config = json.dumps(config).encode()
    manifest = json.loads(image.manifest)
    manifest["config"].update(digest=make.digest(image.config), size=len(image.config))
    manifest["layers"] = [{"mediaType": make.OCI_LAYER, "digest": make.digest(b), "size": len(b)} for b in layers]
    image.manifest = json.dumps(manifest).encode()
    image.digest = make.digest(image.manifest)
    make.push_image(daemon.http(), repo, tag, image)
    return daemon.mount / "images" / repo / tag / "rootfs"


def facts(top, times=True):
    """What a copy must keep: path -> type, mode, owner, size, time, target or content, and which names are one file."""
    out, inodes = {}, {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            kind = stat.S_IFMT(st.st_mode)
            fact = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns if times and kind != stat.S_IFLNK else 0]
            if kind == stat.S_IFREG:
                with open(path, "rb") as f:
                    fact += [st.st_size, make.digest(f.read()), st.st_nlink, inodes.setdefault(st.st_ino, path)]
                fact.append({x: os.getxattr(path, x) for x in os.listxattr(path) if x.startswith("user.")})
            elif kind == stat.S_IFLNK:
                fact.append(os.readlink(path))
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                fact.append(st.st_rdev)
            out[os.path.relpath(path, top)] = [f.replace(str(top), "") if isinstance(f, str) else f for f in fact]
    return out


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A small system around a static busybox, with one of everything."""
    busybox = need("busybox")
    assert "not a dynamic" in run("ldd", busybox, ok=False).text, "busybox must be the static one"
    top = tmp_path_factory.mktemp("system") / "rootfs"
    for folder in ("bin", "etc/deep/er", "tmp", "proc", "dev", "root"):
        (top / folder).mkdir(parents=True)
    shutil.copy(busybox, top / "bin" / "busybox")
    for tool in ("sh", "cat", "ls", "id"):
        (top / "bin" / tool).symlink_to("busybox")
    (top / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc" / "shadow").write_text("root:*::0:::::\n")
    (top / "etc" / "shadow").chmod(0)
    (top / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/UTC")
    (top / "etc" / ("n" * 200)).write_text("a long name")
    (top / "etc" / "deep" / "er" / "file").write_text("x" * 70_000)
    os.link(top / "etc" / "deep" / "er" / "file", top / "etc" / "hard")
    os.setxattr(top / "etc" / "passwd", "user.note", b"kept")
    os.chown(top / "etc" / "hard", 1234, 70_000)
    os.mkfifo(top / "etc" / "pipe")
    os.mknod(top / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (top / "tmp").chmod(0o1777)
    (top / "bin" / "busybox").chmod(0o4755)
    os.utime(top / "etc" / "passwd", ns=(10**18, 10**18))
    return top


@pytest.mark.parametrize("how", ["gzip", "zstd", "plain"])
def test_the_same_as_unpacked(daemon, name, system, how, tmp_path):
    rootfs = push(daemon, name, how, packed(system, how))
    want = facts(system, times=False)
    assert facts(rootfs, times=False) == want
    assert (rootfs / "etc" / "passwd").stat().st_mtime == 10**9
    run("cp", "-a", f"{rootfs}/.", tmp_path / "copy")
    assert facts(tmp_path / "copy", times=False) == want
    run("sh", "-c", f"mkdir {tmp_path}/tar && tar -C {rootfs} -c . | tar -C {tmp_path}/tar -xp")
    got = facts(tmp_path / "tar", times=False)
    assert got.keys() == want.keys() and got["etc/hard"][:6] == want["etc/hard"][:6]
    assert int(run("find", rootfs, "-samefile", rootfs / "etc" / "hard").text.count("\n")) == 2
    for what in (lambda: (rootfs / "new").write_text(""), lambda: (rootfs / "etc" / "passwd").unlink(), lambda: (rootfs / "x").mkdir(), lambda: (rootfs / "etc" / "passwd").open("r+b")):
        with pytest.raises(OSError):
            what()
    with pytest.raises(OSError):
        (rootfs / "dev" / "null").open("rb")


@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"])
def test_sparse_files(daemon, name, form, tmp_path):
    """Every form in which GNU tar stores files with holes reads as the file was."""
    top = tmp_path / "top"
    top.mkdir()
    with open(top / "few", "wb") as f:
        f.seek(3_000_000)
        f.write(os.urandom(10_000))
        f.truncate(9_000_001)
    with open(top / "many", "wb") as f:  # more pieces than fit in one header, or one block of a map
        for i in range(300):
            f.seek(i * 65536)
            f.write(b"%08d" % i * 600)
    with open(top / "dense-end", "wb") as f:
        f.seek(1 << 20)
        f.write(b"end")
    with open(top / "hole", "wb") as f:
        f.truncate(5_000_000)
    (top / ("n" * 150)).write_bytes(b"not sparse")
    os.link(top / "few", top / "same")
    tar = run("sh", "-c", f"tar -S --format={form} -C {top} -cf {tmp_path}/l.tar .")
    assert tar.returncode == 0 and (tmp_path / "l.tar").stat().st_size < 4_000_000, "the file system has no holes"
    rootfs = push(daemon, name, "1", gzip.compress((tmp_path / "l.tar").read_bytes(), 1))
    assert facts(rootfs, times=False) == facts(top, times=False)
    assert not list((rootfs / "few").parent.glob("GNUSparse*"))
    with open(rootfs / "few", "rb") as f:
        for at, n in [(2_999_990, 20), (3_009_990, 20), (8_999_999, 10), (3_000_000, 10_000)]:
            f.seek(at)
            with open(top / "few", "rb") as g:
                g.seek(at)
                assert f.read(n) == g.read(n)


def test_layers_and_differences(daemon, name, system):
    base = packed(system)
    one = push(daemon, f"team/{name}", "1.0", base)
    two = push(daemon, f"team/{name}", "1.1", base, gzip.compress(make.tar({"etc/motd": b"new\n", "etc/deep/.wh.er": b"", "bin/.wh.id": b"", "proc/.wh..wh..opq": b""}), mtime=0))
    r = run("diff", "-r", "--no-dereference", "--exclude=pipe", "--exclude=null", one, two, ok=False)
    assert sorted(r.text.splitlines()) == sorted([f"Only in {one}/bin: id", f"Only in {one}/etc/deep: er", f"Only in {two}/etc: motd"]), r.text
    assert (one / "etc" / "passwd").stat().st_ino == (two / "etc" / "passwd").stat().st_ino
    assert (two / "etc" / "hard").read_text() == "x" * 70_000  # its other name is hidden
    assert not any(".wh." in n for _, folders, files in os.walk(two) for n in folders + files)


def test_over_http(daemon, name, system):
    rootfs = push(daemon, name, "1", packed(system))
    s = daemon.http()
    r = s.get(f"/tree/images/{name}/1/rootfs/etc/", headers={"Accept": "application/json"})
    entries = {e["name"]: e for e in r.json()["entries"]}
    assert entries["passwd"]["type"] == "file" and entries["pipe"]["type"] == "fifo" and entries["localtime"]["target"] == "/usr/share/zoneinfo/UTC"
    assert set(entries) == set(os.listdir(rootfs / "etc"))
    assert s.get(f"/tree/images/{name}/1/rootfs/etc/passwd").text == (rootfs / "etc" / "passwd").read_text()
    r = s.get(f"/tree/images/{name}/1/rootfs/bin/busybox", headers={"Range": "bytes=100000-100099"})
    assert r.status_code == 206 and r.content == (system / "bin" / "busybox").read_bytes()[100000:100100]
    assert s.get(f"/tree/images/{name}/1/rootfs/dev/null").status_code == 400
    assert s.get(f"/tree/images/{name}/1/rootfs/none").status_code == 404
    assert daemon.http(auth=False).get(f"/tree/images/{name}/1/rootfs/etc/passwd").status_code in (401, 403, 404)


def test_broken_layers(daemon, name):
    text = push(daemon, name, "text", b"no archive at all" * 100)
    assert "rootfs" in os.listdir(text.parent)
    r = run("ls", text, ok=False)
    assert r.returncode != 0
    why = os.getxattr(text, "user.infrafs.error").decode()
    assert "not a tar header" in why and "sha256:" in why
    assert (text.parent / "manifest.json").exists()
    r = daemon.http().get(f"/tree/images/{name}/text/rootfs/")
    assert r.status_code == 422 and "not a tar header" in r.text
    os.unlink(daemon.mount / "images" / name / "text")
    os.rmdir(os.path.realpath(text.parent) if os.path.exists(text.parent) else next((daemon.mount / "images" / name / "@manifests").iterdir()))


def test_an_artifact_has_none(daemon, name):
    config = b"{}"
    s = daemon.http()
    for content in (config, b"chart"):
        make.push_blob(s, name, content)
    manifest = {"schemaVersion": 2, "mediaType": make.OCI_MANIFEST, "artifactType": "text/plain",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": make.digest(config), "size": 2},
                "layers": [{"mediaType": "text/plain", "digest": make.digest(b"chart"), "size": 5}]}
    s.put(f"/v2/{name}/manifests/1", data=json.dumps(manifest), headers={"Content-Type": make.OCI_MANIFEST}).raise_for_status()
    assert "rootfs" not in os.listdir(daemon.mount / "images" / name / "1")
    assert not (daemon.mount / "images" / name / "1" / "rootfs").exists()


def test_made_once_and_kept(own_daemon, name, system):
    rootfs = push(own_daemon, name, "1", packed(system))
    before = facts(rootfs)
    assert own_daemon.log.read_text().count("images.indexed") == 1
    own_daemon.kill9()
    own_daemon.start()
    assert facts(rootfs) == before
    assert (rootfs / "etc" / "passwd").stat().st_ino
    assert own_daemon.log.read_text().count("images.indexed") == 1


def test_reader_outlives_the_image(daemon, name):
    content = os.urandom(3_000_000)
    rootfs = push(daemon, name, "1", gzip.compress(make.tar({"big": content}), 1, mtime=0))
    with open(rootfs / "big", "rb", buffering=0) as f:
        assert f.read(1000) == content[:1000]
        image = json.loads((rootfs.parent / "manifest.json").read_bytes())
        digest = os.readlink(rootfs.parent).rsplit("-", 1)[1]
        daemon.http().delete(f"/v2/{name}/manifests/sha256:{digest}").raise_for_status()
        assert not rootfs.exists()
        got = b""
        while piece := f.read(1 << 20):
            got += piece
        assert got == content[1000:]
    assert image["layers"]


@pytest.fixture
def overlay(tmp_path):
    """mount(lower) -> a folder where `lower` may be written to; on a tmpfs, since an overlay does not lie on an overlay."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="overlay-"))
    mounted = []

    def mount(lower):
        r = run("mount", "-t", "tmpfs", "tmpfs", base, ok=False)
        if r.returncode == 0:
            mounted.append(base)
            for folder in ("upper", "work", "merged"):
                (base / folder).mkdir()
            r = run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work", base / "merged", ok=False)
        if r.returncode != 0:
            if os.environ.get("INFRAFS_NO_SKIP"):
                pytest.fail("no overlay here: " + r.text)
            pytest.skip("no overlay here: " + r.text)
        mounted.append(base / "merged")
        return base / "merged"
    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=False)
    base.rmdir()


def test_runs_in_a_chroot(daemon, name, system, overlay):
    """An overlay above rootfs: programs run from it, though the mount itself is noexec."""
    rootfs = push(daemon, name, "1", packed(system), gzip.compress(make.tar({"etc/motd": b"hello\n"}), mtime=0))
    merged = overlay(os.path.realpath(rootfs))
    r = run("chroot", merged, "/bin/sh", "-c", "cat /etc/motd; echo more >> /etc/motd; cat /etc/motd; id; echo x > /root/new; ls /root")
    assert r.text.splitlines() == ["hello", "hello", "more", "uid=0(root) gid=0", "new"], r.text
    assert (rootfs / "etc" / "motd").read_text() == "hello\n" and not (rootfs / "root" / "new").exists()


def test_runs_in_podman(daemon, name, system):
    podman = need("podman")
    rootfs = push(daemon, name, "1", packed(system), gzip.compress(make.tar({"etc/motd": b"hello\n"}), mtime=0))
    base = pathlib.Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
    environment = dict(os.environ, HOME=str(base), XDG_RUNTIME_DIR=str(base))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        r = run(podman, "--root", base / "root", "--runroot", base / "run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
                "run", "--rm", "--network=host", "--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1000:1000",
                "--rootfs", f"{os.path.realpath(rootfs)}:O", "/bin/sh", "-c", "cat /etc/motd; echo x > /etc/new; cat /etc/new", ok=False, env=environment, cwd=base)
        if r.returncode != 0 and re.search("cgroup|operation not permitted|overlay", r.text) and not os.environ.get("INFRAFS_NO_SKIP"):
            pytest.skip("podman runs no containers here: " + r.text[-300:])
        assert r.returncode == 0 and r.text.splitlines()[-2:] == ["hello", "x"], r.text
        assert not (rootfs / "etc" / "new").exists()
    finally:
        for line in reversed(open("/proc/mounts").read().splitlines()):
            if str(base) in line.split()[1]:
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(base, ignore_errors=True)


def test_what_skopeo_recompresses(daemon, name, system, tmp_path):
    """The same image as skopeo packs it anew, with zstd."""
    skopeo = need("skopeo")
    image = make.Image()
    content = (tmp_path / "tar")
    content.mkdir()
    run("cp", "-a", f"{system}/.", content / "r")
    layer = packed(content / "r", "plain")
    image.layers = [gzip.compress(layer, mtime=0)]
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"] = [make.digest(layer)]
    image.config = json.dumps(config).encode()
    manifest = json.loads(image.manifest)
    manifest["config"].update(digest=make.digest(image.config), size=len(image.config))
    manifest["layers"] = [{"mediaType": make.OCI_LAYER, "digest": make.digest(image.layers[0]), "size": len(image.layers[0])}]
    image.manifest = json.dumps(manifest).encode()
    image.digest = make.digest(image.manifest)
    image.layout(tmp_path / "in")
    run(skopeo, "copy", "--dest-tls-verify=false", "--dest-creds", f"{daemon.user}:{daemon.password}", "--dest-compress-format", "zstd", "--dest-compress",
        f"oci:{tmp_path}/in:latest", f"docker://{daemon.host}/team/{name}:z")
    folder = daemon.mount / "images" / "team" / name / "z"
    assert facts(folder / "rootfs", times=False) == facts(system, times=False)
    assert os.listdir(folder / "layers")


def test_a_large_layer(name, tmp_path):
    """Many names, and a file that is larger than what is kept of it unpacked."""
    top = tmp_path / "large" / "r"
    for i in range(50):
        (top / f"d{i:03}").mkdir(parents=True)
        for k in range(100):
            (top / f"d{i:03}" / f"f{k:03}").write_bytes(b"%d %d" % (i, k))
    line = os.urandom(500_000)
    with open(top / "big", "wb") as f:
        for i in range(160):
            f.write(line)
    layer = packed(top, "zstd")
    with running() as daemon:
        rootfs = push(daemon, name, "1", layer)
        found = run("find", rootfs, "-type", "f").text.count("\n")
        assert found == 5_001
        assert len(os.listdir(rootfs / "d042")) == 100 and (rootfs / "d042" / "f042").read_bytes() == b"42 42"
        assert run("cmp", rootfs / "big", top / "big").returncode == 0
        with open(rootfs / "big", "rb") as f:
            for at in (79_000_000, 12, 40_000_000, 79_999_990):
                f.seek(at)
                assert f.read(100) == (line * 2)[at % 500_000:][:min(100, 80_000_000 - at)]
