"""uv: publishing, installing, and the date cut that needs upload times."""
import os

import make
from conftest import need, run
from test_pip import index, installed, upload


def uv(daemon, tmp_path, *arguments, ok=True):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "uv-cache"), "UV_NO_CONFIG": "1",
           "UV_PYTHON_DOWNLOADS": "never"}
    return run(need("uv"), *arguments, ok=ok, env=env)


def test_install(daemon, name, tmp_path):
    a, b = name + "a", name + "b"
    upload(daemon, make.wheel(a, "2.0", metadata=f"Requires-Dist: {b}>=1\n"), make.wheel(a, "3.0", metadata="Requires-Python: >=4\n"),
           make.wheel(b, "1.5"), make.wheel(b, "1.10"))
    target = tmp_path / "target"
    uv(daemon, tmp_path, "pip", "install", "--index-url", index(daemon), "--target", target, a)
    assert installed(target) == {a: "2.0", b: "1.10"}


def test_publish(daemon, name, tmp_path):
    file = make.wheel(name, size=2 << 20)
    path = tmp_path / file[0]
    path.write_bytes(file[1])
    publish = ["publish", "--publish-url", f"{daemon.url}/legacy/", "--username", daemon.user, "--password", daemon.password]
    uv(daemon, tmp_path, *publish, path)
    uv(daemon, tmp_path, *publish, path)
    path.write_bytes(make.wheel(name, files={"x": b"y"})[1])
    refused = uv(daemon, tmp_path, *publish, path, ok=False)
    assert refused.returncode != 0 and "already exists" in refused.text
    assert daemon.http().get(f"/packages/{file[0]}").content == file[1]


def test_exclude_newer(daemon, name, tmp_path):
    upload(daemon, make.wheel(name))
    common = ["pip", "install", "--index-url", index(daemon), "--target", tmp_path / "t", name]
    assert uv(daemon, tmp_path, *common, "--exclude-newer", "2001-01-01", ok=False).returncode != 0
    uv(daemon, tmp_path, *common, "--exclude-newer", "2100-01-01")


def test_from_the_mount(daemon, name, tmp_path):
    upload(daemon, make.wheel(name))
    uv(daemon, tmp_path, "pip", "install", "--no-index", "--find-links", daemon.mount / "packages" / "@all", "--target", tmp_path / "t", name)
    assert installed(tmp_path / "t") == {name: "1.0"}
