"""The agent and the proxy of OpenBao, which stand between a program and its secrets: they log in by themselves, write
what a template says into a file, and put their token under the requests of others."""
import contextlib
import http.client
import json
import os
import socket
import subprocess

import pytest

from conftest import need, wait_for


@pytest.fixture
def role(daemon, name, tmp_path):
    """An approle that reads secret/NAME/…, as the two files that an agent is given; its mount is NAME."""
    daemon.vault("PUT", f"sys/policies/acl/{name}", json={"policy": f'path "secret/data/{name}/*" {{ capabilities = ["read"] }}'}).raise_for_status()
    daemon.vault("POST", f"sys/auth/{name}", json={"type": "approle"}).raise_for_status()
    daemon.vault("POST", f"auth/{name}/role/app", json={"token_policies": [name], "token_ttl": "1h"}).raise_for_status()
    role_id = daemon.vault("GET", f"auth/{name}/role/app/role-id").json()["data"]["role_id"]
    secret_id = daemon.vault("POST", f"auth/{name}/role/app/secret-id").json()["data"]["secret_id"]
    (tmp_path / "role-id").write_text(role_id)
    (tmp_path / "secret-id").write_text(secret_id)
    return tmp_path


def put(daemon, path, **fields):
    daemon.vault("POST", f"secret/data/{path}", json={"data": fields}).raise_for_status()


@contextlib.contextmanager
def started(what, daemon, name, role, more):
    """`bao agent` or `bao proxy`, with a login by approle and a sink; its log is shown if the test fails."""
    config = role / f"{what}.hcl"
    config.write_text(f"""
vault {{ address = "{daemon.url}" }}
auto_auth {{
  method "approle" {{
    mount_path = "auth/{name}"
    config = {{
      role_id_file_path = "{role}/role-id"
      secret_id_file_path = "{role}/secret-id"
      remove_secret_id_file_after_reading = true
    }}
  }}
  sink "file" {{ config = {{ path = "{role}/token" }} }}
}}
{more}
""")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_"))}
    log = role / f"{what}.log"
    with open(log, "wb") as out:
        process = subprocess.Popen([need("bao"), what, f"-config={config}"], stdout=out, stderr=out, env={**environment, "HOME": str(role)}, cwd=role)
    try:
        yield process
        assert process.poll() is None, "it ended by itself"
    except BaseException:
        print(f"--- log of bao {what}\n{log.read_text(errors='replace')}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_agent_writes_a_file_and_writes_it_again(daemon, name, role):
    put(daemon, f"{name}/db", user="app", password="first")
    made = role / "app.env"
    more = f"""
template_config {{ static_secret_render_interval = "1s" }}
template {{
  contents = "{{{{ with secret \\"secret/{name}/db\\" }}}}{{{{ .Data.data.user }}}}:{{{{ .Data.data.password }}}} v{{{{ .Data.metadata.version }}}}{{{{ end }}}}"
  destination = "{made}"
}}
"""
    with started("agent", daemon, name, role, more) as process:
        wait_for(lambda: process.poll() is not None or made.exists(), 40, "the file of the template")
        assert made.read_text() == "app:first v1"
        assert not (role / "secret-id").exists()
        token = wait_for(lambda: (role / "token").read_text(), what="the sink")
        assert daemon.vault("GET", "auth/token/lookup-self", token=token).json()["data"]["policies"] == ["default", name]
        put(daemon, f"{name}/db", user="app", password="second")
        wait_for(lambda: process.poll() is not None or made.read_text() == "app:second v2", 40, "the change in the file")
        assert made.read_text() == "app:second v2"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def test_proxy_puts_its_token_under_requests(daemon, name, role):
    put(daemon, f"{name}/db", password="first")
    put(daemon, f"other-{name}", password="not for it")
    path = role / "proxy.sock"

    def get(secret):
        connection = UnixConnection(path)
        with contextlib.closing(connection):
            connection.request("GET", f"/v1/secret/data/{secret}")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    more = f"""
api_proxy {{ use_auto_auth_token = true }}
listener "unix" {{
  address = "{path}"
  tls_disable = true
}}
"""
    with started("proxy", daemon, name, role, more) as process:
        wait_for(lambda: process.poll() is not None or get(f"{name}/db")[0] == 200, 40, "an answer through the proxy")
        assert get(f"{name}/db")[1]["data"]["data"] == {"password": "first"}
        put(daemon, f"{name}/db", password="second")
        assert get(f"{name}/db")[1]["data"]["data"] == {"password": "second"}  # nothing is cached
        assert get(f"other-{name}")[0] == 403
