"""Transit beside a real OpenBao: a key moves either way by backup and restore, and what one has made the other takes."""
import base64
import importlib
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
        process.wait(60)
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


def wrapped(server, key, hash_name="SHA256", aes=None):
    """A key as clients send it: an AES key under the mount's RSA key, the key itself under that."""
    keywrap = need_module("cryptography.hazmat.primitives.keywrap")
    hashes = need_module("cryptography.hazmat.primitives.hashes")
    padding = need_module("cryptography.hazmat.primitives.asymmetric.padding")
    serialization = need_module("cryptography.hazmat.primitives.serialization")
    pem = server.call("GET", "transit/wrapping_key")["public_key"]
    digest, aes = getattr(hashes, hash_name)(), aes or os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    outer = serialization.load_pem_public_key(pem.encode()).encrypt(aes, oaep)
    return base64.b64encode(outer + keywrap.aes_key_wrap_with_padding(aes, key)).decode()


def need_module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("INFRAFS_NO_SKIP"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")


def new_pairs():
    serialization = need_module("cryptography.hazmat.primitives.serialization")
    rsa = need_module("cryptography.hazmat.primitives.asymmetric.rsa")
    ec = need_module("cryptography.hazmat.primitives.asymmetric.ec")
    ed25519 = need_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    pairs = {"rsa-2048": rsa.generate_private_key(65537, 2048), "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
             "ecdsa-p521": ec.generate_private_key(ec.SECP521R1()), "ed25519": ed25519.Ed25519PrivateKey.generate()}
    return {kind: pair.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()) for kind, pair in pairs.items()}


def test_keys_made_elsewhere_are_imported(own, peer):
    """One key in both servers: what one has made the other takes."""
    raw = {"aes256-gcm96": 32, "aes128-gcm96": 16, "chacha20-poly1305": 32, "xchacha20-poly1305": 32, "hmac": 48}
    keys = {kind: os.urandom(size) for kind, size in raw.items()} | new_pairs()
    for kind, key in keys.items():
        name = f"imported-{kind}"
        for server in (own, peer):
            server.call("POST", f"transit/keys/{name}/import",
                        {"ciphertext": wrapped(server, key, "SHA512"), "hash_function": "SHA512", "type": kind}, 204)
        assert mask_times(shown(own, name)) == mask_times(shown(peer, name))
        for maker, taker in ((own, peer), (peer, own)):
            check_imported(maker, taker, name, kind)
    old = own.call("POST", "transit/encrypt/imported-aes256-gcm96", {"plaintext": TEXT})["ciphertext"]
    own.call("POST", "transit/keys/imported-aes256-gcm96/import_version", {"ciphertext": wrapped(own, os.urandom(32))}, 204)
    new = own.call("POST", "transit/rewrap/imported-aes256-gcm96", {"ciphertext": old})["ciphertext"]
    assert new.startswith("vault:v2:")
    assert own.call("POST", "transit/decrypt/imported-aes256-gcm96", {"ciphertext": new})["plaintext"] == TEXT
    assert "/wrapping" not in own.call("LIST", "transit/keys")["keys"]


def mask_times(text):
    return re.sub(r'"\d{4}-[^"]*Z"|\b1\d{9}\b', "T", text)


def check_imported(maker, taker, name, kind):
    if kind.startswith(("aes", "chacha", "xchacha", "rsa")):
        sealed = maker.call("POST", f"transit/encrypt/{name}", {"plaintext": TEXT})["ciphertext"]
        assert taker.call("POST", f"transit/decrypt/{name}", {"ciphertext": sealed})["plaintext"] == TEXT
    if kind.startswith(("rsa", "ecdsa", "ed25519")):
        signed = maker.call("POST", f"transit/sign/{name}", {"input": TEXT})["signature"]
        assert taker.call("POST", f"transit/verify/{name}", {"input": TEXT, "signature": signed})["valid"]
    if kind == "hmac":
        mac = maker.call("POST", f"transit/hmac/{name}", {"input": TEXT})["hmac"]
        assert taker.call("POST", f"transit/verify/{name}", {"input": TEXT, "hmac": mac})["valid"]


def test_what_is_no_key_is_not_imported(own):
    key, pairs = os.urandom(32), new_pairs()
    good = base64.b64decode(wrapped(own, key))

    def refused(body, why, verb="import", name="refused"):
        r = requests.post(f"{own.url}/v1/transit/keys/{name}/{verb}", json=body, headers={"X-Vault-Token": own.token}, timeout=60)
        assert r.status_code == 400 and why in r.json()["errors"][0], (body, r.status_code, r.text)

    refused({}, "provided type does not support public_key import")
    refused({"ciphertext": "@@"}, "illegal base64 data at input byte 0")
    refused({"ciphertext": "AAAA"}, "provided ciphertext is too short")
    refused({"ciphertext": base64.b64encode(bytes(552)).decode()}, "crypto/rsa: decryption error")
    refused({"ciphertext": base64.b64encode(good[:-1] + bytes([good[-1] ^ 1])).decode()}, "kwp: unwrap failed integrity check")
    refused({"ciphertext": wrapped(own, key, aes=os.urandom(16))}, "expected ephemeral AES key to be 256-bit")
    refused({"ciphertext": wrapped(own, key, "SHA1")}, "crypto/rsa: decryption error")
    refused({"ciphertext": wrapped(own, key), "hash_function": "MD5"}, "unknown hash function: MD5")
    refused({"ciphertext": wrapped(own, key), "type": "nope"}, "unknown key type: nope")
    refused({"ciphertext": wrapped(own, key), "derived": True, "convergent_encryption": True}, "convergent encryption enabled")
    refused({"ciphertext": wrapped(own, key), "auto_rotate_period": "2h"}, "allow_rotation must be set to true")
    refused({"ciphertext": wrapped(own, os.urandom(16))}, "invalid key size 16 bytes for key type aes256-gcm96")
    refused({"ciphertext": wrapped(own, key), "type": "ecdsa-p256"}, "error parsing asymmetric key")
    refused({"ciphertext": wrapped(own, pairs["ecdsa-p521"]), "type": "ecdsa-p256"}, "invalid curve: expected P-256, got P-521")
    refused({"ciphertext": wrapped(own, pairs["ecdsa-p256"]), "type": "ed25519"}, "invalid key type: expected ed25519")
    refused({"ciphertext": wrapped(own, pairs["rsa-2048"]), "type": "rsa-4096"}, "expected 512 bytes, got 256 bytes")
    refused({"ciphertext": wrapped(own, key)}, "to import a new key, use the import/ endpoint", "import_version")
    own.call("POST", "transit/keys/ours")
    refused({"ciphertext": wrapped(own, key)}, "cannot be used with an existing key", name="ours")
    refused({"ciphertext": wrapped(own, key)}, "can only be used with an imported key", "import_version", "ours")
    own.call("POST", "transit/keys/theirs/import", {"ciphertext": wrapped(own, key)}, 204)
    refused({}, "imported key theirs does not allow rotation", "rotate", "theirs")
    own.call("POST", "transit/keys/turning/import", {"ciphertext": wrapped(own, key), "allow_rotation": True}, 204)
    assert own.call("POST", "transit/keys/turning/rotate")["imported_key"] is False
    assert own.call("GET", "transit/keys/refused", status=404) is None
