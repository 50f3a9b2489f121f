"""What goes by rule, what a dry run says, what a scrub finds; and webhooks."""
import http.server
import json
import os
import threading
import time

import make
import pytest
from conftest import program, run, running, wait_for

INDEX = "application/vnd.oci.image.index.v1+json"


def infrafs(d, *words, ok=True):
    """A command against the daemon, with its root token."""
    return run(program(), *words, "--address", d.url, "--data", d.data, ok=ok, env=dict(os.environ, INFRAFS_TOKEN=d.root_token))


def tags(s, repo):
    return s.get(f"/v2/{repo}/tags/list").json()["tags"]


def status(s, repo, ref):
    return s.head(f"/v2/{repo}/manifests/{ref}").status_code


def images(s, repo, *names, size=50_000):
    made = {}
    for n in names:
        made[n] = make.Image({n: os.urandom(size)})
        make.push_image(s, repo, n, made[n])
    return made


RULES = """images:
  gc_grace: 0
  retention:
    - {repositories: "team/*", tags: "v*", keep_last: 2, untagged: 0}
    - {repositories: "pulled/*", keep_pulled: 1h}
    - {repositories: "old/*", keep_pulled: 0}
"""


def test_rules():
    with running(mount=False, config=RULES) as d:
        s = d.http()
        made = images(s, "team/app", "v1", "v2", "v3", "v4", "latest")
        images(s, "pulled/app", "a", "b")
        images(s, "other/app", "v1", "v2", "v3")
        # an index and what it lists; a referrer; what nothing leads to
        child, lone, subject = make.Image(), make.Image(), made["v4"]
        for i in (child, lone):
            make.push_image(s, "team/app", i.digest, i)
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": make.OCI_MANIFEST, "digest": child.digest, "size": len(child.manifest)}]})
        s.put("/v2/team/app/manifests/list", data=index, headers={"Content-Type": INDEX}).raise_for_status()
        signed = json.loads(lone.manifest)
        signed["subject"] = {"mediaType": make.OCI_MANIFEST, "digest": subject.digest, "size": len(subject.manifest)}
        signed = json.dumps(signed).encode()
        s.put(f"/v2/team/app/manifests/{make.digest(signed)}", data=signed, headers={"Content-Type": make.OCI_MANIFEST}).raise_for_status()

        said = infrafs(d, "gc", "--dry-run").text
        assert "would remove tag team/app:v1\n" in said and "would remove tag team/app:v2\n" in said and "v3" not in said, said
        assert f"would remove manifest team/app@{made['v1'].digest}" in said and f"would remove manifest team/app@{lone.digest}" in said
        assert "would remove 2 tags and 3 manifests by rule" in said and "other/app" not in said and "pulled/app" not in said
        freed = int(said.split("let go of ")[1].split()[0])
        assert freed > 2 * 50_000 and tags(s, "team/app") == ["latest", "list", "v1", "v2", "v3", "v4"]

        used = usage(d)
        said = infrafs(d, "gc").text
        assert "removed tag team/app:v1\n" in said and "removed 2 tags and 3 manifests by rule" in said, said
        assert tags(s, "team/app") == ["latest", "list", "v3", "v4"]
        assert [status(s, "team/app", r) for r in (made["v1"].digest, lone.digest, child.digest, make.digest(signed), "v3", "latest")] == [404, 404, 200, 200, 200, 200]
        assert used - usage(d) >= freed and s.get(f"/v2/team/app/blobs/{make.digest(made['v1'].layers[0])}").status_code == 404
        assert "removed 0 tags and 0 manifests" in infrafs(d, "gc").text
        assert tags(s, "pulled/app") == ["a", "b"] and tags(s, "other/app") == ["v1", "v2", "v3"]


def usage(d):
    return float(next(line for line in d.http().get("/metrics").text.splitlines() if line.startswith("infrafs_blob_bytes ")).split()[1])


def test_a_pull_keeps_a_tag_behind_a_restart():
    keep = 8
    rule = f'images: {{gc_grace: 0, retention: [{{tags: "*", keep_pulled: {keep}s}}]}}\n'
    with running(mount=False, config=rule) as d:
        s = d.http()

        def would_go(last_use, restart=True):
            """What a run would remove, after the last use of a tag; None if that took as long as tags are kept."""
            began = time.monotonic()
            last_use()
            if restart:
                d.restart()
            said = infrafs(d, "gc", "--dry-run").text
            return said if time.monotonic() - began < keep else None

        said = wait_for(lambda: would_go(lambda: images(s, "app", "left", "pulled"), restart=False), what="a run in time")
        assert "would remove 0 tags" in said, said

        def left():  # only what is pulled again and again stays
            said = would_go(lambda: s.get("/v2/app/manifests/pulled").raise_for_status())
            assert said is None or "app:pulled" not in said, said
            return said and "would remove tag app:left" in said

        wait_for(left, 60, "the other one to be left for long")
        assert "removed tag app:left" in infrafs(d, "gc").text and "left" not in (tags(s, "app") or [])


def test_an_upload_nobody_goes_on_with_ends():
    with running(mount=False, config="images: {gc_grace: 0, upload_idle: 1s}\n") as d:
        s = d.http()
        location = s.post("/v2/app/blobs/uploads/").headers["Location"]
        s.patch(location, data=b"x" * 100_000).raise_for_status()
        d.restart()  # it rests now

        def ended():
            infrafs(d, "gc")
            return not list((d.data / "store").rglob("uploads/*"))
        wait_for(ended, 30)
        assert s.get(location).status_code == 404


def test_scrub(tmp_path):
    with running(mount=False) as d:
        s = d.http()
        image = make.Image({"a": os.urandom(6_000_000)})
        make.push_image(s, "team/app", "1.0", image)
        assert infrafs(d, "scrub", "--state").text.startswith("no run yet")
        said = infrafs(d, "scrub", "--wait").text
        assert f"2 blobs of {len(image.layers[0]) + len(image.config)} bytes read, 0 damaged" in said, said
        d.stop()
        # one bit, in the middle of the layer
        needle = image.layers[0][3_000_000:3_000_064]
        for file in (d.data / "store").rglob("*.sst"):
            content = file.read_bytes()
            at = content.find(needle)
            if at >= 0:
                with open(file, "r+b") as f:
                    f.seek(at)
                    f.write(bytes([needle[0] ^ 1]))
                break
        else:
            pytest.fail("the layer was not found on disk")
        d.start()
        r = infrafs(d, "scrub", "--wait", ok=False)
        assert r.returncode == 65 and f"damaged {make.digest(image.layers[0])}" in r.text, r.text
        assert "owners=images/team/app" in d.log.read_text()
        assert "infrafs_scrub_damaged 1\n" in s.get("/metrics").text
        d.restart()
        assert infrafs(d, "scrub", "--state", ok=False).returncode == 65  # it is remembered


class Receiver(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hook)
        self.events, self.refuse, self.seen = [], 0, []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Hook(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.headers["Content-Type"], self.headers["Authorization"]))
        if self.server.refuse > 0:
            self.server.refuse -= 1
            self.send_response(500)
        else:
            self.server.events += body["events"]
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_webhooks(tmp_path):
    receiver = Receiver()
    (tmp_path / "authorization").write_text("Bearer s3cret\n")
    config = f"""images:
  webhooks:
    - {{url: "http://127.0.0.1:{receiver.server_port}/hook", authorization_file: {tmp_path}/authorization, repositories: "team/*",
       ignore: {{mediatypes: [application/octet-stream]}}}}
    - {{url: "http://127.0.0.1:{receiver.server_port}/deletes", actions: [delete]}}
"""
    with running(config=config) as d:
        s = d.http()
        image = make.Image()
        receiver.refuse = 2  # it is tried again
        make.push_image(s, "team/app", "1.0", image)
        make.push_image(s, "own/app", "1.0", image)
        wait_for(lambda: len(receiver.events) == 1, 30)
        e = receiver.events[0]
        assert e["action"] == "push" and e["actor"] == {"name": d.user} and e["request"]["method"] == "PUT" and e["request"]["host"] == d.host
        assert e["target"] == {"mediaType": make.OCI_MANIFEST, "size": len(image.manifest), "length": len(image.manifest), "digest": image.digest,
                               "repository": "team/app", "url": f"{d.url}/v2/team/app/manifests/{image.digest}", "tag": "1.0"}
        assert set(receiver.seen) == {("application/vnd.docker.distribution.events.v1+json", "Bearer s3cret")}
        for _ in range(2):
            s.get("/v2/team/app/manifests/1.0").raise_for_status()
        s.head("/v2/team/app/manifests/1.0").raise_for_status()
        os.symlink("1.0", d.mount / "images/team/app/stable")
        os.unlink(d.mount / "images/team/app/stable")
        s.delete(f"/v2/team/app/manifests/{image.digest}").raise_for_status()
        wait_for(lambda: len(receiver.events) == 8, 30, "8 events")
        assert sorted((e["action"], e["target"].get("tag", "")) for e in receiver.events) == sorted(
            [("push", "1.0"), ("pull", "1.0"), ("pull", "1.0"), ("push", "stable"), ("delete", "stable"), ("delete", "stable"), ("delete", ""), ("delete", "")])
        # what nobody takes waits, also behind kill -9
        receiver.shutdown()
        receiver.server_close()
        make.push_image(s, "team/app", "2.0", image)
        d.kill9()
        again = Receiver.__new__(Receiver)
        http.server.ThreadingHTTPServer.__init__(again, ("127.0.0.1", receiver.server_port), Hook)
        again.events, again.refuse, again.seen = [], 0, []
        threading.Thread(target=again.serve_forever, daemon=True).start()
        d.start()
        wait_for(lambda: any(e["target"].get("tag") == "2.0" for e in again.events), 30)
        again.shutdown()
        again.server_close()


def test_webhooks_of_blobs():
    """Pushes, pulls, mounts and deletes of blobs, in distribution's form; what an endpoint ignores does not come."""
    all_of_it, few = Receiver(), Receiver()
    config = f"""images:
  webhooks:
    - {{url: "http://127.0.0.1:{all_of_it.server_port}/"}}
    - {{url: "http://127.0.0.1:{few.server_port}/", ignore: {{mediatypes: [{make.OCI_MANIFEST}], actions: [pull, mount]}}}}
"""
    with running(mount=False, config=config) as d:
        s = d.http()
        content = b"bytes of a blob" * 100
        digest = make.digest(content)
        location = s.post("/v2/team/app/blobs/uploads/").headers["Location"]
        assert s.patch(location, data=content).status_code == 202
        assert s.put(f"{location}?digest={digest}").status_code == 201
        s.head(f"/v2/team/app/blobs/{digest}").raise_for_status()  # not a pull
        assert s.get(f"/v2/team/app/blobs/{digest}").content == content
        assert s.post(f"/v2/team/other/blobs/uploads/?mount={digest}&from=team/app").status_code == 201
        assert s.post(f"/v2/team/third/blobs/uploads/?mount={digest}").status_code == 201  # from wherever
        assert s.delete(f"/v2/team/other/blobs/{digest}").status_code == 202
        image = make.Image()
        make.push_image(s, "team/image", "1", image)
        wait_for(lambda: any(e["target"].get("tag") == "1" for e in all_of_it.events), 30)
        wait_for(lambda: [e for e in few.events if e["target"]["repository"] == "team/image"][len(image.layers):], 30)
        blobs = [e for e in all_of_it.events if e["target"]["repository"] != "team/image"]
        assert [(e["action"], e["target"]["repository"], e["target"].get("fromRepository")) for e in blobs] == [
            ("push", "team/app", None), ("pull", "team/app", None), ("mount", "team/other", "team/app"), ("mount", "team/third", "team/app"),
            ("delete", "team/other", None)]
        for e in blobs:
            t = e["target"]
            assert t["digest"] == digest and t["size"] == t["length"] == len(content) and t["mediaType"] == "application/octet-stream"
            assert t["url"] == f"{d.url}/v2/{t['repository']}/blobs/{digest}" and e["actor"]["name"] == d.user
        assert {(e["action"], e["target"]["mediaType"]) for e in few.events} == {("push", "application/octet-stream"), ("delete", "application/octet-stream")}
