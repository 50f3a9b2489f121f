"""Settings of mounts and secrets that must last, users' names, and that no core file holds a secret."""
import contextlib
import os
import resource
import signal
import subprocess
import sys

import pytest
import requests

from conftest import running


def call(daemon, method, path, body=None, status=204, token=None, **k):
    r = daemon.vault(method, path, token=token, json=body, **k)
    assert r.status_code == status, (path, r.status_code, r.text)
    return r.json() if r.text else None


def login(daemon, mount, name, password):
    return requests.post(f"{daemon.url}/v1/auth/{mount}/login/{name}", json={"password": password}, timeout=60)


def test_settings_outlive_a_restart_and_a_move(own_daemon):
    config = {"listing_visibility": "unauth", "audit_non_hmac_request_keys": ["a"], "max_lease_ttl": "1h"}
    call(own_daemon, "POST", "sys/mounts/kept", {"type": "kv-v2", "config": config})
    call(own_daemon, "POST", "sys/auth/people", {"type": "userpass", "config": {**config, "token_type": "batch"}})
    call(own_daemon, "POST", "auth/people/users/Ann", {"password": "pw", "token_num_uses": 3})
    call(own_daemon, "POST", "kept/config", {"metadata_cas_required": True})
    call(own_daemon, "POST", "kept/metadata/a", {"max_versions": 3, "metadata_cas": 0})
    call(own_daemon, "POST", "kept/data/a", {"data": {"x": "1"}}, 200)
    call(own_daemon, "POST", "sys/remount", {"from": "kept", "to": "moved"}, 200)
    own_daemon.restart()
    shown = call(own_daemon, "GET", "sys/mounts/moved/tune", status=200)["data"]
    assert shown["listing_visibility"] == "unauth" and shown["audit_non_hmac_request_keys"] == ["a"]
    assert shown["max_lease_ttl"] == 3600
    seen = requests.get(f"{own_daemon.url}/v1/sys/internal/ui/mounts", timeout=60).json()["data"]
    assert list(seen["secret"]) == ["moved/"] and list(seen["auth"]) == ["people/"]
    made = login(own_daemon, "people", "ANN", "pw").json()["auth"]
    assert made["token_type"] == "batch" and made["metadata"] == {"username": "ann"} and made["num_uses"] == 0
    assert call(own_daemon, "GET", "moved/config", status=200)["data"]["metadata_cas_required"]
    assert call(own_daemon, "GET", "moved/metadata/a", status=200)["data"]["current_metadata_version"] == 1
    call(own_daemon, "POST", "moved/metadata/a", {"max_versions": 4}, 400)
    call(own_daemon, "PATCH", "moved/metadata/a", {"max_versions": 4, "metadata_cas": 1},
         headers={"Content-Type": "application/merge-patch+json"})
    call(own_daemon, "POST", "moved/data/a", {"data": {"x": "2"}}, 200)  # content is not metadata
    assert call(own_daemon, "GET", "moved/metadata/a", status=200)["data"]["current_metadata_version"] == 2


def test_settings_written_as_a_file_count(daemon, name):
    call(daemon, "POST", f"secret/metadata/{name}", {"max_versions": 3})
    call(daemon, "POST", f"secret/data/{name}", {"data": {"x": "1"}}, 200)
    (daemon.mount / name / "@meta").write_text('{"max_versions": 4}')
    shown = call(daemon, "GET", f"secret/metadata/{name}", status=200)["data"]
    assert (shown["max_versions"], shown["current_metadata_version"]) == (4, 2)
    call(daemon, "POST", f"secret/metadata/{name}", {"max_versions": 5, "metadata_cas": 1}, 400)


def test_a_batch_mount_takes_back_what_only_service_tokens_have(daemon, name):
    call(daemon, "POST", f"sys/auth/{name}", {"type": "approle", "config": {"token_type": "default-batch"}})
    call(daemon, "POST", f"auth/{name}/role/r", {"token_period": "1h", "token_num_uses": 4})
    role = call(daemon, "GET", f"auth/{name}/role/r/role-id", status=200)["data"]["role_id"]
    secret = call(daemon, "POST", f"auth/{name}/role/r/secret-id", status=200)["data"]["secret_id"]
    made = call(daemon, "POST", f"auth/{name}/login", {"role_id": role, "secret_id": secret}, 200)["auth"]
    assert made["token_type"] == "batch" and not made["renewable"] and made["accessor"] == ""
    call(daemon, "POST", f"sys/auth/{name}/tune", {"token_type": "service"})
    made = call(daemon, "POST", f"auth/{name}/login", {"role_id": role, "secret_id": secret}, 200)["auth"]
    assert made["token_type"] == "service" and made["lease_duration"] == 3600 and made["num_uses"] == 4


def test_users_of_the_file_keep_their_case(own_daemon):
    own_daemon.add_user("Bob", "of the file")
    assert login(own_daemon, "userpass", "Bob", "of the file").json()["auth"]["metadata"] == {"username": "Bob"}
    assert login(own_daemon, "userpass", "bob", "of the file").status_code == 400
    call(own_daemon, "POST", "auth/userpass/users/Bob/password", {"password": "another one"})
    assert login(own_daemon, "userpass", "Bob", "another one").status_code == 200


def test_lists_of_names_are_sorted(daemon, name):
    call(daemon, "POST", f"sys/auth/{name}", {"type": "approle"})
    names = sorted(f"role-{i}" for i in range(20))
    for one in reversed(names):
        call(daemon, "POST", f"auth/{name}/role/{one}", {})
    assert call(daemon, "LIST", f"auth/{name}/role", status=200)["data"]["keys"] == names


def ends_with_core(pid):
    """Asks the process to end as a crash would, and for a core of any size."""
    with contextlib.suppress(PermissionError):  # what the process took from itself, not everybody may give back
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(pid, signal.SIGXCPU)  # QUIT is ignored in what a shell put in the background, ABRT is caught by ASan
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_core(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], cwd=tmp_path,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    if not ends_with_core(other.pid):
        pytest.skip("nothing leaves a core on this machine")
    with running() as daemon:
        call(daemon, "POST", "secret/data/canary", {"data": {"x": "canary-of-the-core"}}, 200)
        process, daemon.process = daemon.process, None
        assert not ends_with_core(process.pid)
        assert not list(daemon.base.glob("*core*"))
