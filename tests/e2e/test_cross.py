"""One store behind every door: written through one, read through another, at once."""
import hashlib
import os
import subprocess
import threading

import make
import pytest
from conftest import need, run, wait_for


def test_secret_over_http_is_the_file(daemon, name):
    daemon.vault("POST", f"secret/data/{name}/prod", json={"data": {"db_url": "postgres://x", "n": 12345678901234567890}}).raise_for_status()
    folder = daemon.mount / name / "prod"
    assert (folder / "db_url").read_bytes() == b"postgres://x"
    assert (folder / "n").read_bytes() == b"12345678901234567890"
    assert sorted(p.name for p in folder.iterdir()) == ["db_url", "n"]


def test_secret_file_is_the_secret_over_http(daemon, name):
    folder = daemon.mount / name / "prod"
    folder.mkdir(parents=True)
    (folder / "password").write_bytes(b"p\xc3\xa4ss\n")
    r = daemon.vault("GET", f"secret/data/{name}/prod")
    assert r.json()["data"]["data"] == {"password": "p\u00e4ss\n"}
    assert r.json()["data"]["metadata"]["version"] == 1


def test_no_stale_read_after_a_write_over_http(daemon, name):
    path = daemon.mount / name / "v"
    for i in range(300):
        value = "x" * (i % 37 + 1) + str(i)
        daemon.vault("POST", f"secret/data/{name}", json={"data": {"v": value}}).raise_for_status()
        assert path.read_text() == value
        assert path.stat().st_size == len(value)


def test_deleted_over_http_is_gone_in_the_mount(daemon, name):
    daemon.vault("POST", f"secret/data/{name}/a", json={"data": {"k": "v"}}).raise_for_status()
    assert (daemon.mount / name / "a" / "k").exists()
    daemon.vault("DELETE", f"secret/metadata/{name}/a").raise_for_status()
    assert not (daemon.mount / name / "a" / "k").exists()
    assert not (daemon.mount / name).exists()


def test_package_by_cp_is_installable_at_once(daemon, name, tmp_path):
    file, content = make.wheel(name, "1.0", metadata="Requires-Python: >=3.8")
    (tmp_path / file).write_bytes(content)
    run("cp", tmp_path / file, daemon.mount / "packages")
    page = daemon.http().get(f"/simple/{name}/").text
    assert file in page and hashlib.sha256(content).hexdigest() in page and "&gt;=3.8" in page
    assert (daemon.mount / "packages" / name / file).read_bytes() == content
    os.unlink(daemon.mount / "packages" / name / file)
    assert daemon.http().get(f"/simple/{name}/").status_code == 404
    assert daemon.http().get(f"/packages/{file}").status_code == 404


def test_image_pushed_is_in_the_tree_and_retagged_there(daemon, name):
    s = daemon.http()
    one, two = make.Image(), make.Image()
    make.push_image(s, f"team/{name}", "1.0", one)
    make.push_image(s, f"team/{name}", "1.1", two)
    folder = daemon.mount / "images" / "team" / name
    assert sorted(p.name for p in folder.iterdir()) == ["1.0", "1.1"]
    assert (folder / "1.0" / "manifest.json").read_bytes() == one.manifest
    assert (folder / "1.0" / "config.json").read_bytes() == one.config
    assert next((folder / "1.0" / "layers").iterdir()).read_bytes() == one.layers[0]
    assert (daemon.mount / "images" / "@blobs" / "sha256" / make.digest(one.layers[0])[7:]).read_bytes() == one.layers[0]
    assert (daemon.mount / "images" / "team" / f"{name}:1.0" / "manifest.json").read_bytes() == one.manifest
    run("ln", "-sfn", "1.0", folder / "stable")
    assert (daemon.mount / "images" / "team" / f"{name}:stable" / "manifest.json").read_bytes() == one.manifest
    assert s.get(f"/v2/team/{name}/manifests/stable").content == one.manifest
    run("ln", "-sfn", "1.1", folder / "stable")
    assert s.get(f"/v2/team/{name}/manifests/stable").content == two.manifest
    assert (folder / "stable" / "manifest.json").read_bytes() == two.manifest
    assert (daemon.mount / "images" / "team" / f"{name}:stable" / "manifest.json").read_bytes() == two.manifest
    os.unlink(folder / "stable")
    assert s.get(f"/v2/team/{name}/manifests/stable").status_code == 404
    assert s.delete(f"/v2/team/{name}/manifests/{one.digest}").status_code == 202
    assert not (folder / "1.0").is_symlink()


def test_big_layer_is_the_same_through_both_doors(daemon, name):
    content = os.urandom(24 << 20)
    s = daemon.http()
    d = make.push_blob(s, f"team/{name}", content)
    assert hashlib.sha256(s.get(f"/v2/team/{name}/blobs/{d}").content).hexdigest() == d[7:]
    path = daemon.mount / "images" / "@blobs" / "sha256" / d[7:]
    assert path.stat().st_size == len(content)
    assert run("sha256sum", path).text.split()[0] == d[7:]
    assert s.get(f"/v2/team/{name}/blobs/{d}", headers={"Range": "bytes=5000000-9000000"}).content == content[5000000:9000001]


def test_users_edited_in_the_tree_count_at_once(daemon, name):
    htpasswd = need("htpasswd")
    run(htpasswd, "-bB", daemon.mount / ".htpasswd", name, "sesame")
    assert daemon.http(auth=False).get("/v2/", auth=(name, "sesame")).status_code == 200
    assert f"{name}:" in daemon.htpasswd.read_text()
    run(htpasswd, "-D", daemon.mount / ".htpasswd", name)
    assert daemon.http(auth=False).get("/v2/", auth=(name, "sesame")).status_code == 401
    with pytest.raises(OSError):
        (daemon.mount / ".htpasswd").write_text("this is no user line\n")
    assert daemon.http().get("/v2/").status_code == 200


@pytest.mark.parametrize("what", ["the file", "a folder nobody listed"])
def test_inotify_hears_of_a_change_over_http(daemon, name, what):
    inotifywait = need("inotifywait")
    daemon.vault("POST", f"secret/data/{name}", json={"data": {"k": "one"}}).raise_for_status()
    watched = daemon.mount / name / "k" if what == "the file" else daemon.mount / name
    watcher = subprocess.Popen([inotifywait, "-q", "-e", "close_write", "-t", "120", str(watched)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    heard = threading.Event()
    threading.Thread(target=lambda: (watcher.stdout.read(), heard.set()), daemon=True).start()
    i = 0

    def change():
        nonlocal i
        i += 1
        daemon.vault("POST", f"secret/data/{name}", json={"data": {"k": f"two{i}"}}).raise_for_status()
        return heard.wait(0.5)

    wait_for(change, 12, "the event")
    assert watcher.wait(60) == 0
    assert daemon.vault("GET", f"secret/data/{name}").json()["data"]["metadata"]["version"] == 1 + i


def test_tree_over_http_is_the_mount(daemon, name):
    s = daemon.http()
    assert s.put(f"/tree/{name}/env/key", data=b"\x00\xff bytes").status_code in (200, 201, 204)
    assert (daemon.mount / name / "env" / "key").read_bytes() == b"\x00\xff bytes"
    assert s.get(f"/tree/{name}/env/key").content == b"\x00\xff bytes"
    assert any(e == "key" or e.get("name") == "key" for e in (lambda j: j.get("entries", j) if isinstance(j, dict) else j)(s.get(f"/tree/{name}/env", headers={"Accept": "application/json"}).json()))
    assert s.delete(f"/tree/{name}/env/key").status_code in (200, 204)
    assert not (daemon.mount / name / "env" / "key").exists()


def test_audit_has_both_doors_and_no_value(daemon, name):
    daemon.vault("POST", f"secret/data/{name}", json={"data": {"k": "canary-7f3a"}}).raise_for_status()
    assert (daemon.mount / name / "k").read_text() == "canary-7f3a"
    log = (daemon.data / "audit.log").read_text()
    lines = [line for line in log.splitlines() if name in line]
    assert any('"http"' in line for line in lines) and any('"mount"' in line for line in lines)
    for folder, _, files in os.walk(daemon.data):
        for file in files:
            with open(os.path.join(folder, file), "rb") as f:
                assert b"canary-7f3a" not in f.read(), file
