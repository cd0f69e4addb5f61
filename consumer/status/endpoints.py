"""Asks processes over HTTP what /readyz and /metrics say."""

from __future__ import annotations

import json
import math
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from consumer.status.facts import DriftTest, Endpoint

_DRIFT = {f"segmenter_drift_{name}": name for name in ("statistic", "threshold", "alarm")}
_SECONDS = 5.0
_AT_ONCE = 16


def ask_endpoints(addresses: Iterable[str]) -> list[Endpoint]:
    """Ask all addresses of these names (host:port), side by side, each for 5 s at most."""
    targets: list[tuple[str, str | None]] = []
    for address in addresses:
        targets += _resolved(address)
    if not targets:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(targets))) as pool:
        return list(pool.map(_ask, targets))


def _resolved(address: str) -> list[tuple[str, str | None]]:
    """Give all addresses of a name, as of a headless service, or why there is none."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        return [(address, str(error))]
    numeric = sorted({str(place[0]) for *_, place in found})
    if len(numeric) == 1:
        return [(address, None)]
    return [(f"[{each}]:{port}" if ":" in each else f"{each}:{port}", None) for each in numeric]


def _ask(target: tuple[str, str | None]) -> Endpoint:
    address, problem = target
    if problem is not None:
        return Endpoint(address=address, problem=problem)
    try:
        told = json.loads(_get(f"http://{address}/readyz"))
        role, drift = _of_metrics(_get(f"http://{address}/metrics").decode())
        return Endpoint(
            address=address,
            role=role,
            ready=told["ready"],
            told=told,
            drift_alarms=sorted(name for name, test in drift.items() if test.alarm),
            drift=drift,
        )
    except urllib.error.URLError as error:
        return Endpoint(address=address, problem=str(error.reason))
    except (OSError, HTTPException) as error:
        return Endpoint(address=address, problem=str(error))
    except (ValueError, KeyError, TypeError):
        return Endpoint(address=address, problem="what answers there is no process of segmenter")


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - http, above
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()  # 503 says why
    return body


def _of_metrics(text: str) -> tuple[str | None, dict[str, DriftTest]]:
    role: str | None = None
    drift: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "segmenter_process_info":
                role = sample.labels.get("role")
            elif (name := _DRIFT.get(sample.name)) is not None and not math.isnan(sample.value):
                drift.setdefault(sample.labels.get("test", ""), {})[name] = sample.value
    return role, {test: DriftTest.model_validate(drift[test]) for test in sorted(drift)}
