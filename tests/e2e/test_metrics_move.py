"""Moving over: the samples of a running Prometheus, native histograms too, and the way back."""
import pathlib
import random
import subprocess
import time

import pytest
import requests

import promqltest
from conftest import free_port, program, run, running, wait_for
from test_promql_peer import SAMPLES, STEP_MS, real_prometheus, rows


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A Prometheus that names itself in its external labels, with samples up to a few minutes ago."""
    base = tmp_path_factory.mktemp("source")
    (base / "prometheus.yml").write_text("global: {external_labels: {dc: north}}\nstorage: {tsdb: {out_of_order_time_window: 1d}}\n")
    port = free_port()
    with open(base / "log", "wb") as log:
        peer = subprocess.Popen([real_prometheus(), f"--config.file={base}/prometheus.yml", f"--storage.tsdb.path={base}/data",
                                 "--web.enable-remote-write-receiver", f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: requests.get(url + "/-/ready", timeout=5).status_code == 200, 60, "prometheus")
        server = promqltest.Server(url, None)
        load = promqltest.Load("load 15s")
        load.rows = rows(random.Random(7))
        server.shift = (int(time.time()) // 60 * 60 - 300) * 1000 - STEP_MS * (SAMPLES - 1)
        server.load(load)
        yield url
    finally:
        peer.terminate()
        peer.wait(60)


def everything(url, auth=None):
    """Every sample of every series, as the API prints it."""
    answer = requests.post(url + "/api/v1/query", auth=auth, timeout=60, data={"query": '{__name__=~".+"}[2h]'})
    answer.raise_for_status()
    return {tuple(sorted(r["metric"].items())): (r.get("values"), r.get("histograms")) for r in answer.json()["data"]["result"]}


def move(daemon, *command, ok=True):
    return run(program(), *command, "--address", daemon.url, "--data", daemon.data, ok=ok)


def test_import_and_export(source, tmp_path):
    want = everything(source)
    assert len(want) > 20 and any(h for _, h in want.values())
    with running(mount=False) as d:
        assert "samples and" in move(d, "import", "prometheus", source).text
        assert everything(d.url, d.auth) == want
        move(d, "import", "prometheus", source)  # again: nothing changes
        assert everything(d.url, d.auth) == want
        d.restart()
        assert everything(d.url, d.auth) == want

        text = tmp_path / "all.txt"
        move(d, "export", "prometheus", text)
        assert text.read_text().endswith("# EOF\n") and not (tmp_path / "all.txt.part").exists()
        promtool = pathlib.Path(real_prometheus()).parent / "promtool"
        run(promtool, "tsdb", "create-blocks-from", "openmetrics", text, tmp_path / "blocks")
        (tmp_path / "blocks" / "wal").mkdir()  # promtool dumps only what looks like the folder of a server
        dump = run(promtool, "tsdb", "dump", tmp_path / "blocks").text
        floats = sum(len(v) for v, _ in want.values() if v)
        assert sum("{" in line for line in dump.splitlines()) == floats

        r = move(d, "export", "prometheus", tmp_path / "no" / "such", ok=False)
        assert r.returncode == 73 and "No such file" in r.text


def test_what_is_refused(source):
    with running(mount=False, environment={"INFRAFS_METRICS_OUT_OF_ORDER_WINDOW": "1m"}) as d:
        move(d, "import", "prometheus", source, "--range", "30m")
        r = move(d, "import", "prometheus", source, ok=False)
        assert r.returncode == 65 and "INFRAFS_METRICS_OUT_OF_ORDER_WINDOW" in r.text
        r = move(d, "import", "prometheus", d.url, ok=False)
        assert r.returncode == 64 and "is where to import to" in r.text
        r = move(d, "import", "prometheus", source.replace("//", "//a:b@"), ok=False)
        assert r.returncode == 64 and "netrc" in r.text and "a:b" not in r.text
        r = move(d, "import", "prometheus", source, "--range", "long", ok=False)
        assert r.returncode == 64 and "not a duration" in r.text
        r = move(d, "import", "prometheus", f"http://127.0.0.1:{free_port()}", ok=False)
        assert r.returncode == 69
