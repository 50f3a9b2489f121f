"""The web page in a real browser: log in, browse, write, rename, delete."""
import base64
import json
import os
import socket
import struct
import subprocess
import tempfile

import pytest
import requests

from conftest import need, wait_for


class Browser:
    """Chromium over its debugging protocol: just enough of a WebSocket (RFC 6455) to say evaluate."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = os.path.join(folder, "DevToolsActivePort")
        port = int(wait_for(lambda: open(port_file).read().split("\n")[0], 60, "chromium"))
        page = wait_for(lambda: [p for p in requests.get(f"http://127.0.0.1:{port}/json", timeout=5).json() if p["type"] == "page"], 30)[0]
        path = page["webSocketDebuggerUrl"].split("/", 3)[3]
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        self.stream = self.socket.makefile("rb")
        while self.stream.readline() != b"\r\n":
            pass
        self.n = 0

    def call(self, method, **parameters):
        self.n += 1
        data = json.dumps({"id": self.n, "method": method, "params": parameters}).encode()
        mask = os.urandom(4)
        self.socket.sendall(b"\x81" + (struct.pack("!BH", 0xFE, len(data)) if len(data) > 125 else bytes([0x80 | len(data)])) + mask +
                            bytes(c ^ mask[i % 4] for i, c in enumerate(data)))
        while True:
            length = self.stream.read(2)[1] & 0x7F
            if length > 125:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            answer = json.loads(self.stream.read(length))
            if answer.get("id") == self.n:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        r = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in r, r
        return r["result"].get("value")

    def wait(self, condition):
        try:
            return wait_for(lambda: self.run(condition), 30, condition)
        except AssertionError as e:
            raise AssertionError(f"{e}; the page says: {self.run('document.body.innerText')}") from e

    def close(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def browser():
    with tempfile.TemporaryDirectory(prefix="infrafs-test-", ignore_cleanup_errors=True) as folder:
        b = Browser(folder)
        yield b
        b.close()


def press(browser, text, within="document"):
    browser.wait(f"!![...{within}.querySelectorAll('button')].find(b => b.textContent === {json.dumps(text)})")
    browser.run(f"[...{within}.querySelectorAll('button')].find(b => b.textContent === {json.dumps(text)}).click()")


def row(name):
    return f"[...document.querySelectorAll('tbody tr')].find(r => r.cells[0].textContent === {json.dumps(name)})"


def test_page(daemon, browser, name):
    browser.call("Page.navigate", url=daemon.url + "/")
    browser.wait("document.readyState === 'complete' && !document.querySelector('#login').hidden")

    def log_in(password):
        browser.run(f"document.querySelector('#user').value = {json.dumps(daemon.user)};"
                    f"document.querySelector('#password').value = {json.dumps(password)};"
                    "document.querySelector('#login button').click()")

    log_in("wrong")
    browser.wait("document.querySelector('#say').textContent.includes('wrong') || document.querySelector('#say').textContent.includes('password')")
    # an answer that comes late ends no newer login
    browser.run("window.real = window.fetch; window.fetch = async (...a) => {"
                " const r = await window.real(...a); await new Promise(go => { window.go = go; }); return r; }")
    log_in("wrong again")
    browser.wait("!!window.go")
    browser.run("window.fetch = window.real")
    log_in(daemon.password)
    browser.wait("document.querySelector('#login').hidden")
    browser.run("document.querySelector('#say').textContent = ''; window.go()")
    browser.wait("document.querySelector('#say').textContent !== ''")
    assert browser.run("document.querySelector('#login').hidden")
    browser.wait(f"!!{row('packages/')}")

    browser.run(f"window.prompt = () => {json.dumps(name)}; window.confirm = () => true")
    press(browser, "New folder")
    browser.wait(f"!!{row(name + '/')}")
    assert (daemon.mount / name).is_dir()

    browser.run(f"{row(name + '/')}.cells[0].querySelector('a').click()")
    browser.wait(f"document.querySelector('#where').textContent.includes({json.dumps(name)})")
    browser.wait("document.querySelectorAll('tbody tr').length === 0 && document.querySelector('#main').textContent.includes('Nothing')")
    browser.run("window.prompt = () => 'a key'")
    press(browser, "New file")
    browser.wait("!!document.querySelector('textarea')")
    browser.run("document.querySelector('textarea').value = 'w\\u00f6rd\\n'")
    press(browser, "Save")
    browser.wait("document.querySelector('#say').textContent === 'Saved.'")
    assert (daemon.mount / name / "a key").read_bytes() == "wörd\n".encode()
    assert browser.run("document.querySelector('textarea').value") == "wörd\n"

    browser.run("history.back()")
    browser.wait(f"!!{row('a key')}")
    browser.run(f"window.prompt = () => {json.dumps(name + '/other')}")
    press(browser, "Move", row("a key"))
    browser.wait(f"!!{row('other')} && !{row('a key')}")
    assert [p.name for p in (daemon.mount / name).iterdir()] == ["other"]
    press(browser, "Delete", row("other"))
    browser.wait(f"!{row('other')}")
    assert list((daemon.mount / name).iterdir()) == []
    # nothing from elsewhere, and nothing that the policy refused
    assert browser.run("performance.getEntriesByType('resource').every(e => new URL(e.name).host === location.host)")
