"""metrics/ in the mount: the configuration, targets and series as files."""
import errno
import os
import subprocess
import time

import pytest

from conftest import run, running, wait_for
from test_prometheus import Api, Target, config, job


@pytest.fixture
def target():
    t = Target()
    yield t
    t.close()


def yml(daemon):
    return daemon.mount / "metrics" / "prometheus.yml"


def close_error(path, text):
    f = open(path, "w")
    f.write(text)
    with pytest.raises(OSError) as e:
        f.close()
    return e.value.errno


def test_an_edit_is_in_force_when_close_returns(daemon, name, target):
    yml(daemon).write_text(config(job(name, target.address)))
    assert name in Api(daemon).get("scrape_pools")["data"]["scrapePools"]
    assert os.listdir(daemon.mount / "metrics" / "targets") == [name]
    assert daemon.prometheus.read_text() == config(job(name, target.address))  # it is the host's file


def test_an_edit_on_the_host_shows(daemon, name, target):
    text = config(job(name, target.address))
    daemon.prometheus.write_text(text)
    wait_for(lambda: yml(daemon).read_text() == text, what="the mount to show it")
    replaced = daemon.prometheus.with_suffix(".new")
    replaced.write_text(config(job(name + "2", target.address)))
    os.rename(replaced, daemon.prometheus)
    wait_for(lambda: os.listdir(daemon.mount / "metrics" / "targets") == [name + "2"], what="the replaced file")
    wait_for(lambda: yml(daemon).read_text() == daemon.prometheus.read_text(), what="its text")


def test_a_bad_edit_is_refused(daemon, name, target):
    good = config(job(name, target.address))
    yml(daemon).write_text(good)
    assert close_error(yml(daemon), good + "  scrape_intervall: 1s\n") == errno.EINVAL
    assert yml(daemon).read_text() == good and daemon.prometheus.read_text() == good
    assert "did you mean 'scrape_interval'?" in (daemon.mount / ".infra" / "errors").read_text()
    with pytest.raises(OSError) as e:
        yml(daemon).unlink()
    assert e.value.errno == errno.EPERM


def test_editors(daemon, name, target):
    yml(daemon).write_text(config(job(name, target.address)))
    run("sed", "-i", f"s/{name}/{name}s/", yml(daemon))
    assert os.listdir(daemon.mount / "metrics" / "targets") == [name + "s"]
    other = daemon.base / "other.yml"
    other.write_text(config(job(name + "c", target.address)))
    run("cp", other, yml(daemon))
    assert os.listdir(daemon.mount / "metrics" / "targets") == [name + "c"]
    r = run("sed", "-i", "s/job_name/job_nam/", yml(daemon), ok=False)
    assert r.returncode != 0
    assert os.listdir(daemon.mount / "metrics" / "targets") == [name + "c"]
    with open(yml(daemon), "a") as f:
        f.write("# a remark\n")
    assert daemon.prometheus.read_text().endswith("# a remark\n")


def test_targets_and_series(daemon, name, target):
    target.body = 'a{x="1/2"} 2.5\nb 7\n'
    yml(daemon).write_text(config(job(name, target.address)))
    state = daemon.mount / "metrics" / "targets" / name / target.address
    up = wait_for(lambda: "health=up\n" in (text := state.read_text()) and text, what="the target to be up")
    lines = dict(line.split("=", 1) for line in up.splitlines())
    assert lines["url"] == f"http://{target.address}/metrics" and lines["label.job"] == name and lines["last_samples"] == "2"
    series = daemon.mount / "metrics" / "series"
    assert {"a", "b", "up"} <= set(os.listdir(series))
    file = [f for f in os.listdir(series / "a") if f'job="{name}"' in f]
    assert file == [f'instance="{target.address}",job="{name}",x="1%2F2"']
    text = wait_for(lambda: (text := (series / "a" / file[0]).read_text()).startswith("2.5 ") and text, what="the value")
    assert abs(float(text.split()[1]) - time.time()) < 300
    wait_for(lambda: (series / "a" / file[0]).stat().st_size == len((series / "a" / file[0]).read_text()), what="its size")
    target.body = "b 8\n"
    wait_for(lambda: (series / "a" / file[0]).read_text().startswith("stale "), what="the mark")
    target.status = 404
    wait_for(lambda: "last_error=server returned HTTP status 404 Not Found" in state.read_text(), what="the error")
    run("find", daemon.mount / "metrics", "-type", "f")


def test_touch_makes_a_target_and_rm_removes_it(target, name):
    with running() as daemon:
        yml(daemon).write_text(config(job(name)))
        folder = daemon.mount / "metrics" / "targets" / name
        assert os.listdir(folder) == []
        run("touch", folder / target.address)
        api = Api(daemon)
        wait_for(lambda: api.value(f'up{{job="{name}"}}') == 1, what="the target")
        daemon.restart()
        assert os.listdir(folder) == [target.address]  # it is kept
        (folder / target.address).write_text("env=prod\n")
        wait_for(lambda: Api(daemon).value(f'up{{job="{name}",env="prod"}}') == 1, what="its label")
        run("rm", folder / target.address)
        assert os.listdir(folder) == []
        wait_for(lambda: Api(daemon).query(f'up{{job="{name}",env="prod"}}') == [], what="the marks")


def test_what_cannot_be_changed(daemon):
    for path in ("metrics/series/new", "metrics/targets/new"):
        with pytest.raises(OSError):
            (daemon.mount / path).write_text("x")
    r = subprocess.run(["rm", "-rf", daemon.mount / "metrics"], stderr=subprocess.PIPE)
    assert r.returncode != 0 and daemon.prometheus.exists()
