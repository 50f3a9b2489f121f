"""Rules of retention and the coarse tier, with a daemon and its disk; tests/unit has the cases."""
import subprocess
import time

from conftest import program, running, wait_for
from test_metrics_store import write
from test_prometheus import Api

HOUR = 3600_000
CONFIG = """metrics:
  retention: 30d
  retention_rules: [{match: '{__name__=~"go_.*"}', keep: 1d}]
  downsample: 5m
"""


def test_rules_and_tier():
    now = int(time.time() * 1000)
    start = now - 75 * HOUR
    with running(mount=False, config=CONFIG) as d:
        api = Api(d)
        for at in range(start, now - HOUR, 15 * HOUR):
            times = range(at, min(at + 15 * HOUR, now - HOUR), 30_000)
            assert write(d, "go_threads", [(t, t * 7919 % 1000003) for t in times]) == 204
            assert write(d, "c_total", [(t, (t - start) / 1000) for t in times]) == 204
        # a delete of nothing makes runs of all that is in memory
        assert d.http().post("/api/v1/admin/tsdb/delete_series", params={"match[]": "none"}).status_code == 204

        def levels():
            return [b["compaction"]["level"] for b in api.get("status/tsdb/blocks")["data"]["blocks"]]

        def oldest(name):
            return float(api.query(f"min_over_time(timestamp({name})[4d:2m])", time=now / 1000)[0]["value"][1]) * 1000

        wait_for(lambda: levels().count(2) >= 2 * 5, 60, "the tiers of two days")
        wait_for(lambda: oldest("go_threads") > now - 27 * HOUR, 60, "what is old to go")
        assert oldest("c_total") < start + HOUR
        assert len(api.query("go_threads[20h]", time=now / 1000)[0]["values"]) == len(range(now - 20 * HOUR + 30_000, now - HOUR, 30_000))
        (rate,) = api.get("query_range", query="rate(c_total[1h])", start=now / 1000 - 60 * 3600, end=now / 1000 - 30 * 3600,
                          step=1800)["data"]["result"]
        assert len(rate["values"]) == 61 and all(abs(float(v) - 1) < 0.1 for _, v in rate["values"])
        blocks = sorted(levels())
        d.kill9()
        d.start()
        api = Api(d)
        assert sorted(levels()) == blocks and oldest("go_threads") > now - 27 * HOUR


def test_a_rule_that_is_none(tmp_path):
    (tmp_path / "infrafs.yml").write_text("metrics: {retention_rules: [{match: 'go_{', keep: 1d}]}\n")
    r = subprocess.run([program(), "serve", "--config", tmp_path / "infrafs.yml", "--data", tmp_path / "d", "--no-mount",
                        "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, timeout=60)
    assert r.returncode != 0 and b"metrics.retention_rules: 'go_{': " in r.stderr
    (tmp_path / "infrafs.yml").write_text("metrics: {retention_rules: [{match: 'go_x'}]}\n")
    r = subprocess.run([program(), "config", "check", tmp_path / "infrafs.yml"], stderr=subprocess.PIPE, timeout=60)
    assert r.returncode != 0 and b"line 1" in r.stderr and b"'keep'" in r.stderr
