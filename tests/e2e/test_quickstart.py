"""The README's first command, from the build to the unmount, in folders of the test's own."""
import os
import re
import subprocess

import pytest
import requests
from conftest import ROOT, need, wait_for


@pytest.mark.timeout(1000)  # it builds, where nobody has before
def test_quickstart_loads_all_four_areas_and_leaves_nothing(tmp_path):
    mount = tmp_path / "mnt"
    p = subprocess.Popen([ROOT / "contrib" / "quickstart", "--data", tmp_path / "data", "--mount", mount, "--listen", "127.0.0.1:0", "--once"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out, _ = p.communicate(timeout=900)
    assert p.returncode == 0, out
    assert "Ctrl-C stops it" in out
    assert not os.path.ismount(mount)


def test_the_example_is_there_and_its_hints_are_true(daemon):
    """What quickstart prints to try, tried."""
    python = need("python3")
    subprocess.run([python, ROOT / "contrib" / "example.py", "--url", daemon.url, "--mount", daemon.mount, "--user", daemon.user, "--password", daemon.password], check=True, timeout=120)
    assert (daemon.mount / "service-1" / "env-1" / "db_url").read_text().startswith("postgres://")
    assert list((daemon.mount / "packages" / "hello-infrafs").iterdir())
    assert (daemon.mount / "images" / "team" / "hello" / "1.0" / "manifest.json").exists()
    targets = daemon.mount / "metrics" / "targets" / "infrafs"
    wait_for(lambda: any(re.search(r"(?m)^health=up|up=1", p.read_text()) for p in targets.iterdir()), 30, "the target to be up")

    def up():
        return requests.get(daemon.url + "/api/v1/query", params={"query": "up"}, timeout=60).json()["data"]["result"][0]["value"][1] == "1"

    wait_for(up, 30, "up")
