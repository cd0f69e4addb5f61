"""A kube-apiserver with its etcd, on free ports of this machine, for as long as a context lasts."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from consumer.tryout.broker.config import free_ports
from tests.kubernetes.api_tools import ApiTools

_SECONDS = 120.0
_HOST = "127.0.0.1"


class ServerError(Exception):
    """The server does not start, or does not answer."""


@dataclass(frozen=True)
class Answer:
    """What the server says.

    Attributes
    ----------
    status
        Of HTTP.
    body
        As JSON.
    warnings
        Beside it; a client shows them.
    """

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """Why it was not taken; None where it was."""
        return None if self.status < 300 else str(self.body.get("message", self.status))


@dataclass
class ApiServer:
    """Talks to the server as an administrator."""

    url: str
    token: str
    context: ssl.SSLContext
    _kinds: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, content: object = None, kind: str = "application/json"
    ) -> Answer:
        """Ask once."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
                return _answer(answer.status, answer.read(), answer.headers.get_all("Warning"))
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), error.headers.get_all("Warning"))

    def create(self, resource: Mapping[str, Any]) -> Answer:
        """Create a resource, for good."""
        return self.ask("POST", self.place(resource), resource)

    def dry_run(self, resource: Mapping[str, Any]) -> Answer:
        """Apply a resource as `kubectl apply --server-side --dry-run=server` does; keep nothing.

        Fields that the server does not know are an error.
        """
        name = resource["metadata"]["name"]
        query = "fieldManager=test&force=true&dryRun=All&fieldValidation=Strict"
        path = f"{self.place(resource)}/{name}?{query}"
        return self.ask("PATCH", path, resource, "application/apply-patch+yaml")

    def place(self, resource: Mapping[str, Any]) -> str:
        """Give the path of a resource's collection.

        Raises
        ------
        ServerError
            If the server does not know what it is.
        """
        group = resource["apiVersion"]
        base = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if group not in self._kinds:
            listed = self.ask("GET", base).body.get("resources", [])
            self._kinds[group] = {
                each["kind"]: (each["name"], each["namespaced"])
                for each in listed
                if "/" not in each["name"]
            }
        if resource["kind"] not in self._kinds[group]:
            raise ServerError(f"the server knows no {resource['kind']} of {group}")
        plural, namespaced = self._kinds[group][resource["kind"]]
        if not namespaced:
            return f"{base}/{plural}"
        return f"{base}/namespaces/{resource['metadata'].get('namespace', 'default')}/{plural}"

    def define(self, path: Path) -> None:
        """Make the custom resource that a file defines known, and wait until it is.

        Raises
        ------
        ServerError
            If the server refuses it.
        """
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        answer = self.create(definition)
        if answer.problem is not None:
            raise ServerError(f"{path.name}: {answer.problem}")
        place = f"{self.place(definition)}/{definition['metadata']['name']}"
        until(lambda: _established(self.ask("GET", place).body), path.name)


def _answer(status: int, body: bytes, warnings: list[str] | None) -> Answer:
    try:
        said = json.loads(body)
    except ValueError:
        said = {"message": body.decode(errors="replace")}
    return Answer(status, said, tuple(warnings or ()))


def _established(definition: Mapping[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def until(condition: Any, what: str, seconds: float = _SECONDS) -> None:
    """Wait for something.

    Raises
    ------
    ServerError
        If it does not come in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not after {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def api_server(tools: ApiTools, folder: Path) -> Iterator[ApiServer]:
    """Start both; end both.

    Raises
    ------
    ServerError
        If one does not start; says where its log is.
    """
    client, peer, port = free_ports(_HOST, 3)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n", encoding="utf-8")
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    etcd = [
        *(str(tools.etcd), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", f"http://{_HOST}:{client}"),
        *("--advertise-client-urls", f"http://{_HOST}:{client}"),
        *("--listen-peer-urls", f"http://{_HOST}:{peer}"),
        *("--initial-advertise-peer-urls", f"http://{_HOST}:{peer}"),
        *("--initial-cluster", f"default=http://{_HOST}:{peer}"),
    ]
    server = [
        *(str(tools.apiserver), "--etcd-servers", f"http://{_HOST}:{client}"),
        *("--bind-address", _HOST, "--secure-port", str(port)),
        *("--cert-dir", str(folder / "certificates"), "--token-auth-file"),
        *(str(folder / "tokens.csv"), "--authorization-mode", "RBAC"),
        *("--service-cluster-ip-range", "10.0.0.0/24"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", str(key), "--service-account-signing-key-file", str(key)),
    ]
    with _process(etcd, folder / "etcd.log"), _process(server, folder / "apiserver.log") as running:
        certificate = folder / "certificates" / "apiserver.crt"
        made = ApiServer(f"https://{_HOST}:{port}", token, ssl.create_default_context())

        def ready() -> bool:
            if running.poll() is not None:
                said = (folder / "apiserver.log").read_text(errors="replace").splitlines()
                raise ServerError(f"kube-apiserver ended: {said[-1] if said else 'without a word'}")
            if not certificate.is_file() or not certificate.stat().st_size:
                return False
            try:
                made.context.load_verify_locations(certificate)
                return made.ask("GET", "/readyz").status == 200
            except (OSError, urllib.error.URLError):
                return False

        until(ready, f"kube-apiserver ({folder / 'apiserver.log'})")
        yield made


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
