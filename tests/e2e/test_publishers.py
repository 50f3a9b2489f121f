"""poetry, pdm, hatch and flit: each builds a project, publishes it here, and installs from here what
its project needs."""
import importlib.metadata
import os
import sys

import pytest
import make
from conftest import need, run
from test_pip import index, installed, upload
from test_twine import project

PYPROJECT = """[build-system]
requires = ["{backend}"]
build-backend = "{backend_module}"
[project]
name = "{name}"
version = "1.0"
description = "a test"
requires-python = ">=3.8"
dependencies = [{dependencies}]
"""
BACKENDS = {"poetry": ("poetry-core", "poetry.core.masonry.api"), "pdm": ("pdm-backend", "pdm.backend"),
            "hatch": ("hatchling", "hatchling.build"), "flit": ("flit_core", "flit_core.buildapi")}


def client(tool, folder, *arguments, ok=True, **environment):
    home = folder / "home"
    home.mkdir(exist_ok=True)
    env = {"PATH": os.path.dirname(sys.executable) + ":" + os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home),
           "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "PIP_CONFIG_FILE": os.devnull,
           "PIP_DISABLE_PIP_VERSION_CHECK": "1", "VIRTUALENV_NO_PERIODIC_UPDATE": "1", "NO_COLOR": "1", **environment}
    return run(need(tool), *arguments, ok=ok, env=env, cwd=folder)


@pytest.fixture
def sources(tmp_path, name):
    """A project to publish; and a dist/ of it, for those that do not build without a network."""
    def make_sources(tool, dependencies="", more=""):
        backend, module = BACKENDS[tool]
        (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(backend=backend, backend_module=module, name=name, dependencies=dependencies) + more)
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text('"""A test."""\n__version__ = "1.0"\n')
        (tmp_path / "dist").mkdir(exist_ok=True)
        for file, content in (make.wheel(name), make.sdist(name)):
            (tmp_path / "dist" / file).write_bytes(content)
        return tmp_path
    return make_sources


def published(daemon, name, at_least=2):
    page = project(daemon, name).json()
    assert page["versions"] == ["1.0"] and len(page["files"]) >= at_least
    return page


def test_poetry(daemon, name, sources):
    folder = sources("poetry")
    client("poetry", folder, "config", "repositories.here", f"{daemon.url}/legacy/")
    publish = ["publish", "--no-interaction", "--repository", "here", "--username", daemon.user, "--password", daemon.password]
    client("poetry", folder, *publish)
    published(daemon, name)
    (folder / "dist" / make.wheel(name)[0]).write_bytes(make.wheel(name, files={"x": b"y"})[1])
    refused = client("poetry", folder, *publish, ok=False)
    assert refused.returncode != 0 and "already exists" in refused.text


def test_poetry_installs(daemon, name, sources):
    upload(daemon, make.wheel(name + "b", "1.5"), make.wheel(name + "b", "1.10"))
    folder = sources("poetry", f'"{name}b>=1"', f"""
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "here"
url = "{daemon.url}/simple/"
priority = "primary"
""")
    login = {"POETRY_HTTP_BASIC_HERE_USERNAME": daemon.user, "POETRY_HTTP_BASIC_HERE_PASSWORD": daemon.password,
             "POETRY_VIRTUALENVS_IN_PROJECT": "true"}
    client("poetry", folder, "install", "--no-interaction", "--no-root", **login)
    assert installed(next((folder / ".venv" / "lib").glob("python*/site-packages")))[name + "b"] == "1.10"
    assert f'name = "{name}b"' in (folder / "poetry.lock").read_text()


def test_pdm(daemon, name, sources):
    folder = sources("pdm")
    publish = ["publish", "--no-build", "--repository", f"{daemon.url}/legacy/", "--username", daemon.user, "--password", daemon.password]
    client("pdm", folder, *publish)
    published(daemon, name)
    (folder / "dist" / make.wheel(name)[0]).write_bytes(make.wheel(name, files={"x": b"y"})[1])
    client("pdm", folder, *publish, "--skip-existing")


def test_pdm_installs(daemon, name, sources):
    upload(daemon, make.wheel(name + "b", "1.5"), make.wheel(name + "b", "1.10"))
    folder = sources("pdm", f'"{name}b>=1"', f"""
[tool.pdm]
distribution = false
[[tool.pdm.source]]
name = "pypi"
url = "{index(daemon)}"
verify_ssl = false
""")
    client("pdm", folder, "install", "--no-self")
    assert installed(next((folder / ".venv" / "lib").glob("python*/site-packages")))[name + "b"] == "1.10"


def test_hatch(daemon, name, sources):
    folder = sources("hatch")
    publish = ["publish", "--no-prompt", "-r", f"{daemon.url}/legacy/", "-u", daemon.user, "-a", daemon.password]
    client("hatch", folder, *publish)
    published(daemon, name)
    (folder / "dist" / make.wheel(name)[0]).write_bytes(make.wheel(name, files={"x": b"y"})[1])
    assert client("hatch", folder, *publish, ok=False).returncode != 0
    assert daemon.http().get(f"/packages/{make.wheel(name)[0]}").content == make.wheel(name)[1]


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_hatch_installs(daemon, name, sources, installer):
    upload(daemon, make.wheel(name + "b", "1.5"), make.wheel(name + "b", "1.10"))
    folder = sources("hatch", more=f"""
[tool.hatch.envs.default]
skip-install = true
installer = "{installer}"
dependencies = ["{name}b>=1"]
""")
    environment = {"pip": {"PIP_INDEX_URL": index(daemon)},
                   "uv": {"UV_INDEX_URL": index(daemon), "HATCH_ENV_TYPE_VIRTUAL_UV_PATH": need("uv"), "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}}
    where = {"HATCH_DATA_DIR": str(folder / "hatch"), "HATCH_CACHE_DIR": str(folder / "cache"), **environment[installer]}
    imported = client("hatch", folder, "run", "python", "-c", f"import {name}b; print({name}b.__file__, {name}b.VERSION)", **where)
    file, version = imported.text.split()[-2:]
    assert file.startswith(str(folder / "hatch")) and version == "1.10"


def test_flit(daemon, name, sources):
    folder = sources("flit")
    login = {"FLIT_INDEX_URL": f"{daemon.url}/legacy/", "FLIT_USERNAME": daemon.user, "FLIT_PASSWORD": daemon.password}
    client("flit", folder, "publish", **login)
    page = published(daemon, name)
    assert sorted(f["filename"] for f in page["files"]) == [f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.tar.gz"]
    assert page["files"][0]["requires-python"] == ">=3.8"
    wrong = client("flit", folder, "publish", ok=False, **{**login, "FLIT_PASSWORD": "wrong"})
    assert wrong.returncode != 0


def test_flit_installs(daemon, name, sources):
    """The dependency and flit_core, which pip builds the project with, both come from here."""
    backend = importlib.metadata.distribution("flit_core")
    modules = {str(f): f.read_binary() for f in backend.files if f.parts[0] == "flit_core" and "__pycache__" not in f.parts}
    upload(daemon, make.wheel(name + "b", "1.5"), make.wheel(name + "b", "1.10"), make.wheel("flit_core", backend.version, files=modules))
    folder = sources("flit", f'"{name}b>=1"')
    client("virtualenv", folder, "--no-download", "venv")
    client("flit", folder, "install", "--deps", "production", "--python", str(folder / "venv" / "bin" / "python"), FLIT_ROOT_INSTALL="1",
           PIP_INDEX_URL=index(daemon))
    got = installed(next((folder / "venv" / "lib").glob("python*/site-packages")))
    assert got[name] == "1.0" and got[name + "b"] == "1.10"
