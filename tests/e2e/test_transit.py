"""Transit beside a real OpenBao: a key moves either way by backup and restore, and what one has made the other takes."""
import base64
import json
import os
import re
import subprocess

import pytest
import requests

from conftest import free_port, need, wait_for

TEXT = base64.b64encode("some text é".encode()).decode()
KEYS = [
    ("aes256-gcm96", {}),
    ("aes128-gcm96", {}),
    ("chacha20-poly1305", {}),
    ("xchacha20-poly1305", {}),
    ("aes256-gcm96", {"derived": True}),
    ("aes128-gcm96", {"derived": True, "convergent_encryption": True}),
    ("ed25519", {}),
    ("ed25519", {"derived": True}),
    ("ecdsa-p256", {}),
    ("ecdsa-p384", {}),
    ("ecdsa-p521", {}),
    ("rsa-2048", {}),
    ("rsa-3072", {}),
    ("hmac", {"key_size": 64}),
]
SIGNING = {
    "ed25519": [{}, {"marshaling_algorithm": "jws"}],
    "ecdsa": [{}, {"marshaling_algorithm": "jws"}, {"hash_algorithm": "sha2-512"}, {"prehashed": True}],
    "rsa": [{}, {"signature_algorithm": "pkcs1v15", "hash_algorithm": "sha2-512"}, {"salt_length": "hash"},
            {"salt_length": 20, "hash_algorithm": "sha1"}],
}


class Server:
    def __init__(self, url, token):
        self.url, self.token = url, token

    def call(self, method, path, body=None, status=200):
        r = requests.request(method, f"{self.url}/v1/{path}", json=body, headers={"X-Vault-Token": self.token}, timeout=60)
        assert r.status_code == status, (path, r.status_code, r.text)
        return r.json().get("data") if r.text else None


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    home = tmp_path_factory.mktemp("openbao")
    port = free_port()
    log = open(home / "log", "wb")
    process = subprocess.Popen([need("bao"), "server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token",
                                f"-dev-listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=home,
                               env={**os.environ, "HOME": str(home)})
    server = Server(f"http://127.0.0.1:{port}", "root")
    try:
        wait_for(lambda: requests.get(f"{server.url}/v1/sys/health", timeout=5).status_code == 200, 60, "OpenBao")
        server.call("POST", "sys/mounts/transit", {"type": "transit"}, 204)
        yield server
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="module")
def own(daemon):
    server = Server(daemon.url, daemon.root_token)
    server.call("POST", "sys/mounts/transit", {"type": "transit"}, 204)
    return server


def shown(server, name):
    """What a server says of a key; Go leaves out zeros at the end of a fraction."""
    data = server.call("GET", f"transit/keys/{name}")
    text = json.dumps({k: v for k, v in data.items() if k not in ("backup_info", "restore_info")}, sort_keys=True)
    return re.sub(r"\.(\d+?)0*Z", r".\1Z", text)


@pytest.mark.parametrize("direction", ["from OpenBao", "to OpenBao"])
def test_keys_move(own, peer, direction):
    first, second = (peer, own) if direction.startswith("from") else (own, peer)
    for kind, options in KEYS:
        name = f"{direction[:2].strip()}-{kind}-{len(options)}"
        first.call("POST", f"transit/keys/{name}", {"type": kind, "exportable": True, "allow_plaintext_backup": True, **options})
        first.call("POST", f"transit/keys/{name}/rotate")
        backup = first.call("GET", f"transit/backup/{name}")["backup"]
        second.call("POST", f"transit/restore/{name}", {"backup": backup}, 204)
        assert shown(first, name) == shown(second, name)
        context = {"context": base64.b64encode(b"team").decode()} if options.get("derived") else {}
        for maker, taker in ((first, second), (second, first)):
            check_pair(maker, taker, name, kind, context)
        if options.get("convergent_encryption"):
            same = {s.call("POST", f"transit/encrypt/{name}", {"plaintext": TEXT, **context})["ciphertext"] for s in (first, second)}
            assert len(same) == 1


def check_pair(maker, taker, name, kind, context):
    mac = maker.call("POST", f"transit/hmac/{name}/sha3-384", {"input": TEXT})["hmac"]
    assert taker.call("POST", f"transit/verify/{name}/sha3-384", {"input": TEXT, "hmac": mac})["valid"]
    if kind.startswith(("aes", "chacha", "xchacha", "rsa")):
        aad = {} if kind.startswith("rsa") else {"associated_data": base64.b64encode(b"aad").decode()}
        sealed = maker.call("POST", f"transit/encrypt/{name}", {"plaintext": TEXT, **context, **aad})["ciphertext"]
        assert taker.call("POST", f"transit/decrypt/{name}", {"ciphertext": sealed, **context, **aad})["plaintext"] == TEXT
        old = maker.call("POST", f"transit/encrypt/{name}", {"plaintext": TEXT, "key_version": 1, **context})["ciphertext"]
        new = taker.call("POST", f"transit/rewrap/{name}", {"ciphertext": old, **context})["ciphertext"]
        assert old.startswith("vault:v1:") and new.startswith("vault:v2:")
        assert maker.call("POST", f"transit/decrypt/{name}", {"ciphertext": new, **context})["plaintext"] == TEXT
    for options in SIGNING.get(kind.split("-")[0], []):
        signed = maker.call("POST", f"transit/sign/{name}", {"input": TEXT, **context, **options})["signature"]
        body = {"signature": signed, **context, **options}
        assert taker.call("POST", f"transit/verify/{name}", {"input": TEXT, **body})["valid"]
        other = base64.b64encode(b"other text").decode()
        if not options.get("prehashed"):
            assert not taker.call("POST", f"transit/verify/{name}", {"input": other, **body})["valid"]


def test_keys_survive_a_restart_and_stand_nowhere_in_clear(daemon, own):
    own.call("POST", "transit/keys/kept", {"exportable": True})
    sealed = own.call("POST", "transit/encrypt/kept", {"plaintext": TEXT})["ciphertext"]
    key = own.call("GET", "transit/export/encryption-key/kept")["keys"]["1"]
    daemon.restart()
    again = Server(daemon.url, daemon.root_token)
    assert again.call("POST", "transit/decrypt/kept", {"ciphertext": sealed})["plaintext"] == TEXT
    needles = (key.encode(), base64.b64decode(key))
    for path in daemon.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(n in content for n in needles), path
