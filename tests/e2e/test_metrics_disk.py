"""A full disk while metrics come in and runs are written: reads go on, nothing stored is lost, scraping resumes."""
import tempfile
import time

import pytest

from conftest import running, wait_for
from test_faults import small_disk  # noqa: F401 (a fixture)
from test_metrics_store import write
from test_prometheus import Api, Target, config, job

HOUR = 3600_000


def fill(file):
    """Until nothing more fits; small steps at the end."""
    with open(file, "ab", buffering=0) as f:
        for step in (1 << 20, 1 << 12):
            try:
                while True:
                    f.write(b"x" * step)
            except OSError:
                pass


def stored(api, name, now):
    """Every sample of the series: time to value."""
    result = api.query(f"{name}[2d]", time=now / 1000 + 1)
    return {round(t * 1000): float(v) for t, v in result[0]["values"]} if result else {}


@pytest.mark.parametrize("reserve", ["64MiB", "0"])
def test_full_disk(small_disk, monkeypatch, reserve):  # noqa: F811
    """With the reserve the store refuses in time; without it, the disk does, in the middle of whatever it is."""
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix="": str(small_disk))
    target = Target()
    count = [0]

    def body():
        count[0] += 1
        return f"scraped {count[0]}\n"

    target.body = body
    try:
        with running(mount=False, environment={"INFRAFS_LIMITS_DISK_RESERVE": reserve}) as d:
            d.prometheus.write_text(config(job("j", target.address), interval="200ms"))
            api = Api(d)
            now = int(time.time() * 1000)
            at = now - 30 * HOUR
            acknowledged = {}

            def send(samples):
                nonlocal at
                times = [at + i * 1000 for i in range(samples)]
                status = write(d, "written", [(t, (t * 7919 % 1000003) / 7) for t in times])
                if status == 204:
                    acknowledged.update({t: (t * 7919 % 1000003) / 7 for t in times})
                    at += samples * 1000
                return status

            wait_for(lambda: (api.value("scraped") or 0) >= 3, what="the first scrapes")
            assert send(4000) == 204
            filler = small_disk / "filler"
            fill(filler)
            statuses = set()
            deadline = time.monotonic() + 6  # past the moments at which buckets become runs
            while (time.monotonic() < deadline or not statuses - {204}) and at < now - HOUR:
                statuses.add(send(500))
                fill(filler)
            assert statuses - {204}, "the disk was never full"
            assert all(status >= 500 for status in statuses - {204}), statuses  # a sender tries again
            assert stored(api, "written", now) == acknowledged
            assert api.query("scraped[5m]")
            filler.unlink()
            wait_for(lambda: send(500) == 204, 20, "space to be noticed")
            resumed = count[0]
            wait_for(lambda: (api.value("scraped") or 0) > resumed, 20, "scraping to resume")
            while at < now - 20 * HOUR:
                assert send(4000) == 204
            seen = api.query("scraped[10m]")[0]["values"]
            assert send(1) == 204  # what is durable on return makes all before it so
            d.kill9()
            d.start()
            api = Api(d)
            assert stored(api, "written", now) == acknowledged
            assert set(map(tuple, seen)) <= set(map(tuple, api.query("scraped[10m]")[0]["values"]))
    finally:
        target.close()
