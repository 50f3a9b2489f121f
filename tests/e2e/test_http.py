"""The HTTP front: framing, targets, logins, /tree/, the page, TLS, several listeners with areas."""
import base64
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

import pytest
import requests

from conftest import Daemon, need, run, wait_for

H = b"Host: h\r\n"


def talk(daemon, data, seconds=60, until_closed=False):
    """Sends bytes, returns what comes: one answer, or all until the end."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=seconds) as s:
        s.sendall(data)
        got = b""
        while True:
            try:
                piece = s.recv(65536)
            except ConnectionResetError:
                return got
            if not piece:
                return got
            got += piece
            head, end, body = got.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not until_closed and end and length and len(body) >= int(length.group(1)):
                return got


@pytest.mark.parametrize("head", [
    b"Content-Length: 3\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length : 3\r\n",
    b"Content-Length: +3\r\n",
    b"Host: other\r\n",
    b"X\x80: y\r\n",
])
def test_two_readers_would_disagree(daemon, head):
    got = talk(daemon, b"POST /health HTTP/1.1\r\n" + H + head + b"\r\nabcGET /health HTTP/1.1\r\n" + H + b"\r\n", until_closed=True)
    assert got.startswith(b"HTTP/1.1 400 "), got
    assert b" 200 OK" not in got, got


@pytest.mark.parametrize("path", ["/tree/a%00b", "/tree/../x", "/tree/%2e%2e/x", "//health", "/tree//x", "/tree/a%2", "/tree/a%zz", "/tree/%2F"])
def test_target_is_refused(daemon, path):
    got = talk(daemon, b"GET " + path.encode() + b" HTTP/1.1\r\n" + H + b"\r\n")
    assert got.startswith(b"HTTP/1.1 400 "), got


def test_headers_too_large(daemon):
    got = talk(daemon, b"GET /health HTTP/1.1\r\n" + H + b"X: " + b"x" * 33000 + b"\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 431 "), got[:200]
    assert talk(daemon, b"GET /health HTTP/1.1\r\n" + H + b"X: " + b"x" * 30000 + b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_pipelining_and_keep_alive(daemon):
    one = b"GET /health HTTP/1.1\r\n" + H + b"\r\n"
    got = talk(daemon, one * 20 + b"GET /health HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n", until_closed=True)
    assert got.count(b"HTTP/1.1 200 OK") == 21


def test_expect_is_answered_before_the_body(daemon):
    curl = need("curl")
    with tempfile.NamedTemporaryFile() as f:
        f.write(os.urandom(3 << 20))
        f.flush()
        common = [curl, "-sv", "-H", "Expect: 100-continue", "-T", f.name, f"{daemon.url}/tree/http-expect/x"]
        r = run(*common, "-u", "alice:wrong")
        assert "HTTP/1.1 401" in r.text and "100 Continue" not in r.text, r.text
        r = run(*common)
        assert "HTTP/1.1 401" in r.text and "100 Continue" not in r.text, r.text


def test_login(daemon):
    h = daemon.http(auth=False)
    r = h.get("/tree/")
    assert r.status_code == 401 and r.headers["WWW-Authenticate"].startswith("Basic ")
    assert h.get("/tree/", auth=("alice", "wrong")).status_code == 401
    assert h.get("/tree/", auth=("nobody", "x")).status_code == 401
    assert h.get("/tree/", auth=daemon.auth).status_code == 200
    assert h.get("/tree/", headers={"X-Vault-Token": daemon.root_token}).status_code == 200
    assert h.get("/tree/", headers={"Authorization": "Bearer " + daemon.root_token}).status_code == 200
    assert h.get("/tree/", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert h.get("/tree/", auth=("__token__", daemon.root_token)).status_code == 200


def test_many_at_once(daemon):
    def one(_):
        with requests.Session() as s:
            s.auth = daemon.auth
            s.trust_env = False
            return [s.get(daemon.url + "/tree/", timeout=60).status_code for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        assert all(code == 200 for codes in pool.map(one, range(200)) for code in codes)


def test_tree_and_mount_agree(daemon, name):
    h = daemon.http()
    assert h.request("MKCOL", f"/tree/{name}").status_code == 201
    assert h.request("MKCOL", f"/tree/{name}").status_code == 409
    assert h.request("MKCOL", f"/tree/{name}/prod").status_code == 201
    assert h.put(f"/tree/{name}/prod/password", data=b"hunter2").status_code == 201
    secret = daemon.mount / name / "prod" / "password"
    assert secret.read_bytes() == b"hunter2"
    assert h.put(f"/tree/{name}/prod/password", data=b"hunter2-longer").status_code == 204
    assert secret.read_bytes() == b"hunter2-longer"
    secret.write_bytes(b"by the mount")
    r = h.get(f"/tree/{name}/prod/password")
    assert r.content == b"by the mount" and r.headers["Cache-Control"] == "no-store"
    assert h.get(f"/tree/{name}/prod/password", headers={"Range": "bytes=3-5"}).content == b"the"
    r = h.head(f"/tree/{name}/prod/password")
    assert r.headers["Content-Length"] == "12" and r.content == b""
    listing = h.get(f"/tree/{name}/prod").json()
    assert [(e["name"], e["type"], e["size"]) for e in listing["entries"]] == [("password", "file", 12)]
    assert h.put(f"/tree/{name}/prod/password", data=b"x", headers={"If-None-Match": "*"}).status_code == 409
    assert h.request("MOVE", f"/tree/{name}/prod/password", headers={"Destination": f"/tree/{name}/prod/pass%20word"}).status_code == 204
    assert os.listdir(daemon.mount / name / "prod") == ["pass word"]
    assert h.delete(f"/tree/{name}/prod").status_code == 409
    assert h.delete(f"/tree/{name}/prod/pass%20word").status_code == 204
    assert h.get(f"/tree/{name}/prod/pass%20word").status_code == 404
    assert not (daemon.mount / name / "prod" / "pass word").exists()


def test_tree_for_a_browser(daemon):
    h = daemon.http()
    r = h.get("/tree/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert r.headers["Content-Type"].startswith("text/html") and '<a href="./packages/">' in r.text
    assert h.get("/tree").url.endswith("/tree/")


def test_tree_hides_what_is_not_there(daemon):
    anonymous = daemon.http(auth=False)
    there, absent = anonymous.get("/tree/packages/"), anonymous.get("/tree/no-such-service/")
    assert there.status_code == absent.status_code == 401


def test_page(daemon):
    h = daemon.http(auth=False)
    r = h.get("/")
    assert r.status_code == 200 and r.headers["Content-Encoding"] == "gzip"
    policy = r.headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        text = re.search(f"<{tag}>(.*?)</{tag}>", r.text, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"(?:src|href)=.https?:", r.text)
    assert h.get("/", headers={"If-None-Match": r.headers["ETag"]}).status_code == 304


def test_cut_upload_leaves_nothing(daemon, name):
    h = daemon.http()
    assert h.request("MKCOL", f"/tree/{name}").status_code == 201
    token = base64.b64encode(":".join(daemon.auth).encode())
    with socket.create_connection(("127.0.0.1", daemon.port)) as s:
        s.sendall(b"PUT /tree/%s/key HTTP/1.1\r\n" % name.encode() + H + b"Authorization: Basic " + token + b"\r\nContent-Length: 100\r\n\r\nhalf")
    wait_for(lambda: h.get("/health").ok)
    assert h.get(f"/tree/{name}/key").status_code == 404
    assert list((daemon.mount / name).iterdir()) == []


class Configured(Daemon):
    """Listens where its configuration says."""

    def command(self):
        c = super().command()
        at = c.index("--listen")
        return c[:at] + c[at + 2:]


def make_certificate(folder, name):
    run(need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", folder / "new.key", "-out", folder / "new.pem")
    os.replace(folder / "new.key", folder / "tls.key")
    os.replace(folder / "new.pem", folder / "tls.pem")


@pytest.fixture(scope="module")
def listeners():
    """Three listeners: images in plain, secrets over TLS, everything on IPv6."""
    base = tempfile.mkdtemp(prefix="infrafs-test-")
    d = Configured(base, mount=False, config="")
    make_certificate(d.base, "first")
    config = {"listen": [
        {"address": "127.0.0.1:0", "areas": ["images"]},
        {"address": "127.0.0.1:0", "areas": ["secrets", "tree"], "tls": {"certificate": f"{base}/tls.pem", "key": f"{base}/tls.key"}},
        {"address": "[::1]:0"},
    ], "limits": {"connections_per_address": 20, "idle_timeout": "4s"}}
    (d.base / "infrafs.yml").write_text(json.dumps(config))
    try:
        d.start()
        yield d
        d.close()
    finally:
        if d.process is not None:
            d.kill9()
        shutil.rmtree(base, ignore_errors=True)


def secure(d, path, **k):
    return requests.get(f"https://{d.addresses[1]}{path}", verify=f"{d.base}/tls.pem", timeout=60, **k)


def test_areas(listeners):
    plain, tls, six = listeners.addresses
    assert re.match(r"\[::1\]:[1-9]", six)
    token = {"X-Vault-Token": listeners.root_token}
    assert requests.get(f"http://{plain}/v2/", headers=token).status_code in (200, 401)
    assert requests.get(f"http://{plain}/v1/sys/health").status_code == 404
    assert requests.get(f"http://{plain}/tree/", headers=token).status_code == 404
    assert secure(listeners, "/v1/sys/health").status_code == 200
    assert secure(listeners, "/v2/").status_code == 404
    for address in (f"http://{plain}", f"http://{six}"):
        assert requests.get(f"{address}/health").text == "ok\n"
    assert requests.get(f"http://{six}/v1/sys/health").status_code == 200


def test_tls_moves_large_bodies(listeners):
    token = {"X-Vault-Token": listeners.root_token}
    url = f"https://{listeners.addresses[1]}/v1/secret/data/large"
    value = os.urandom(300000).hex()
    r = requests.post(url, json={"data": {"v": value}}, headers=token, verify=f"{listeners.base}/tls.pem")
    assert r.status_code == 200, r.text
    assert secure(listeners, "/v1/secret/data/large", headers=token).json()["data"]["data"]["v"] == value
    assert secure(listeners, "/tree/large/v", headers=token).text == value


def subject(d):
    host, port = d.addresses[1].rsplit(":", 1)
    pem = ssl.get_server_certificate((host, int(port)))
    return subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem.encode(), stdout=subprocess.PIPE).stdout.decode()


def test_certificate_is_renewed_without_a_restart(listeners):
    assert "first" in subject(listeners)
    make_certificate(listeners.base, "second")
    wait_for(lambda: "second" in subject(listeners), what="the new certificate")
    (listeners.base / "tls.pem").write_text("nonsense")
    wait_for(lambda: "tls.kept" in listeners.tail() or not subject(listeners), what="the refusal in the log")
    assert "second" in subject(listeners)
    make_certificate(listeners.base, "third")
    wait_for(lambda: "third" in subject(listeners), what="the certificate after that")


def test_plain_client_on_tls_and_the_reverse(listeners):
    host, port = listeners.addresses[1].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.sendall(b"GET / HTTP/1.1\r\n" + H + b"\r\n")
        try:
            assert not s.recv(100).startswith(b"HTTP/1.1 200")
        except ConnectionResetError:
            pass
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://{listeners.addresses[0]}/health", timeout=60)
    assert secure(listeners, "/health").status_code == 200


def test_connections_of_one_address_are_limited(listeners):
    host, port = listeners.addresses[0].rsplit(":", 1)
    idle = []

    def one_too_many():
        """Is it refused? Not if the first were idle for too long before it came, on a busy machine."""
        while idle:
            idle.pop().close()
        for _ in range(20):
            idle.append(socket.create_connection((host, int(port)), timeout=60))
            idle[-1].sendall(b"GET /health HTTP/1.1\r\n" + H)
        with socket.create_connection((host, int(port)), timeout=60) as s:
            s.sendall(b"GET /health HTTP/1.1\r\n" + H + b"\r\n")
            try:
                return s.recv(100) == b""
            except (ConnectionResetError, BrokenPipeError):
                return True

    try:
        wait_for(one_too_many, what="the refusal")
        # who says nothing is not waited for
        for s in idle:
            try:
                s.recv(1000)
            except ConnectionResetError:
                pass
    finally:
        for s in idle:
            s.close()
    wait_for(lambda: requests.get(f"http://{listeners.addresses[0]}/health", timeout=5).ok, what="room for a connection")


def test_a_port_in_use(daemon):
    r = run(*[daemon.command()[0], "serve", "--data", str(daemon.base / "second"), "--no-mount", "--listen", daemon.host], ok=False)
    assert r.returncode == 69 and f"listen on {daemon.host}: Address already in use" in r.text
