"""A store at s3:// without credentials is refused in one line, before anybody waits for a service that does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from adaprob_ray import cli
from adaprob_ray.errors import InputError
from adaprob_ray.store import credentials
from adaprob_ray.store.credentials import CREDENTIALS, require_credentials

URI = "s3://bucket/store"
SWEEP = """\
name: small
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.02}
  forget: {kind: selective, class: 3, count: 25}
  seed: 1
train: {recipe: large, epochs: 1}
methods: {finetune: {epochs: 1}}
metrics: [errors]
"""
REFUSAL = f"store {URI}: no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ("


@pytest.fixture(autouse=True)
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    credentials._instance_has_role.cache_clear()
    yield
    credentials._instance_has_role.cache_clear()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Start a metadata service that gives these answers by path, and 404 for others."""
    servers: list[HTTPServer] = []

    def start(answers: dict[str, str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path in answers else 404)
                self.end_headers()
                self.wfile.write(answers.get(self.path, "").encode())

            do_PUT = do_GET

            def log_message(self, *arguments: object) -> None: ...

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[0].serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{servers[0].server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service that takes connections and never answers, as a firewall that drops packets."""
    monkeypatch.setattr(credentials, "METADATA_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield


@pytest.mark.usefixtures("silent_service", "restored_sigterm")
@pytest.mark.parametrize("command", ["plan", "run", "status", "explain", "compare", "report", "doctor"])
def test_every_command_says_so_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SWEEP, encoding="utf-8")
    options = ["--executor", "local"] if command == "run" else []
    assert cli.main([command, "small.yaml", "--store", URI, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {REFUSAL}")


ROLES = "/latest/meta-data/iam/security-credentials/"


@pytest.mark.parametrize(
    ("answers", "accepted"),
    [
        ({"/latest/api/token": "token", ROLES: "sweeps"}, True),
        ({"/latest/api/token": "token", ROLES: ""}, False),
        ({"/latest/api/token": "token"}, False),
        ({}, False),
    ],
    ids=["a role", "no role", "no list of roles", "another service"],
)
def test_a_machine_with_a_role_needs_no_keys(
    answers: dict[str, str], accepted: bool, serve: Callable[[dict[str, str]], None]
) -> None:
    serve(answers)
    if accepted:
        require_credentials(URI)
        return
    with pytest.raises(InputError) as raised:
        require_credentials(URI)
    assert str(raised.value).startswith(REFUSAL)


@pytest.mark.usefixtures("silent_service")
@pytest.mark.parametrize("name", CREDENTIALS)
def test_any_credentials_that_obstore_reads_are_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "something")
    require_credentials(URI)
    monkeypatch.setenv(name, "")
    with pytest.raises(InputError):
        require_credentials(URI)


@pytest.mark.usefixtures("silent_service")
@pytest.mark.parametrize("uri", ["gs://bucket/store", "az://container/store"])
def test_other_services_are_not_asked(uri: str) -> None:
    require_credentials(uri)
