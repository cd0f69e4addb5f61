"""How long the example that serves recommendations takes for an answer, over loopback.

    python -m benchmarks.serving [--requests 10000]
    python -m benchmarks.serving --render

The server is a process of its own with made-up records in place of topics: 100,000 users in 50
segments of 50 items each, 10,000 of them with items of their own, and 1,000 attributes. One client
asks one question after the other over one connection. What comes out goes to
`benchmarks/results/serving.json`, and from there into docs/recommendations.md.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.markdown import render, table
from benchmarks.shared import DOCS, ROOT, Figures, parser, read, say, write

PAGE = DOCS / "recommendations.md"
FOLDER = ROOT / "clients/python/examples/recommendations"
USERS, SEGMENTS, ITEMS, OWN, VALUES = 100_000, 50, 50, 10_000, 1_000
KINDS = {
    "user_recommendations": "the user's record",
    "segment": "the list of the user's segment",
    "attributes": "by attributes",
    "related_users": "by related users",
    "global": "what all choose",
}


def main() -> None:
    """Measure, or only render."""
    options_of = parser(__doc__ or "", "serving.json", page=True)
    options_of.add_argument("--requests", type=int, default=10_000)
    options_of.add_argument("--serve", type=int, help="be the server, on this port")
    options = options_of.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if not options.render:
        write(options.output, measured(options.requests))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), options.output), encoding="utf-8")


def serve(port: int) -> None:
    """Serve made-up records."""
    sys.path.insert(0, str(FOLDER))
    import app  # type: ignore[import-not-found]  # noqa: PLC0415
    import serving  # type: ignore[import-not-found]  # noqa: PLC0415
    import uvicorn  # noqa: PLC0415

    known = serving.Known()
    fill(known)
    uvicorn.run(app.create_app(known), host="127.0.0.1", port=port, log_level="warning")


def fill(known: object) -> None:
    """Put the made-up records in, as topics would."""
    take = known.take  # type: ignore[attr-defined]
    chance = random.Random(0)
    rating = {"weight": 1.0, "mean": 4.0, "variance": 0.5}
    for segment in (None, *range(SEGMENTS)):
        items = [
            {
                "item_id": f"item-{chance.randrange(2_000)}-{n}",
                "score": 0.1 / (n + 1),
                "popularity": 1.0,
                "ratings": rating,
            }
            for n in range(ITEMS)
        ]
        told = {"segment": segment, "as_of": "2026-01-01T00:00:00Z", "items": items}
        key = b"all" if segment is None else b"%d" % segment
        take("segment-recommendations", key, json.dumps(told).encode())
    by_segment = [{"segment": n, "users": 60} for n in range(SEGMENTS)]
    attributes = [
        {
            "name": f"name-{n % 10}",
            "value": f"value-{n}",
            "users": 100,
            "segments": [
                {"segment": each, "users": chance.randint(1, 9)} for each in range(SEGMENTS)
            ],
        }
        for n in range(VALUES)
    ]
    counts = {"users": 3_000, "sampled": 0.03, "segments": by_segment, "attributes": attributes}
    take("segment-recommendations", b"attributes", json.dumps(counts).encode())
    for n in range(USERS):
        told = {"user_id": f"u-{n}", "segment": {"id": n % SEGMENTS, "label": "x"}}
        take("segment-memberships", f"u-{n}".encode(), json.dumps(told).encode())
    mine = [{"item_id": f"item-{n}", "score": 0.5, "reason": "similar"} for n in range(20)]
    for n in range(OWN):
        told = {"used": "mixture", "profile_at": "2026-01-01T00:00:00Z", "items": mine}
        take("user-recommendations", f"u-{n}".encode(), json.dumps(told).encode())


def measured(count: int) -> Figures:
    """Ask so many questions; give their times in milliseconds by what was used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.serving", "--serve", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            return _asked(port, count, psutil.Process(server.pid))
        finally:
            server.terminate()


def _asked(port: int, count: int, server: psutil.Process) -> Figures:
    connection = _connected(port)
    chance = random.Random(1)
    paths = [_path(chance, n) for n in range(count)]
    for path in paths[:200]:
        _ask(connection, path)
    say(f"asking {count:,} questions")
    before = server.cpu_times()
    times: dict[str, list[float]] = {}
    for path in paths:
        begun = time.perf_counter()
        used = _ask(connection, path)
        times.setdefault(used, []).append(1_000 * (time.perf_counter() - begun))
    after = server.cpu_times()
    spent = after.user + after.system - before.user - before.system
    everything = [each for own in times.values() for each in own]
    return {
        "requests": count,
        "members": USERS,
        "segments": SEGMENTS,
        "cpu_ms": 1_000 * spent / count,
        "memory_mb": server.memory_info().rss / 1e6,
        "load": psutil.getloadavg()[0],
        "all": _figures(everything),
        "by_used": {name: _figures(times[name]) for name in KINDS},
    }


def _connected(port: int) -> http.client.HTTPConnection:
    until = time.monotonic() + 120
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.connect()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return connection


def _path(chance: random.Random, number: int) -> str:
    kind = number % 5
    who = ("u-", chance.randrange(OWN)) if kind == 0 else ("u-", chance.randrange(OWN, USERS))
    user = f"{who[0]}{who[1]}" if kind < 2 else f"new-{number}"
    path = f"/users/{user}/recommendations?limit=20"
    if kind == 2:
        value = chance.randrange(VALUES)
        path += f"&attr.name-{value % 10}=value-{value}"
    elif kind == 3:
        path += f"&related=u-{chance.randrange(USERS)},u-{chance.randrange(USERS)}"
    return path


def _ask(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert answer.status == 200, told
    return str(told["used"])


def _figures(times: list[float]) -> Figures:
    p50, p99 = np.percentile(times, (50, 99)).tolist()
    return {"requests": len(times), "p50_ms": p50, "p99_ms": p99, "most_ms": max(times)}


def rendered(text: str, output: Path) -> str:
    """Give the page's text with the table of the figures in a file; the rest stays."""
    if not output.exists():
        return text
    found = read(output)
    rows = [("all of them", found["all"])]
    rows += [(said, found["by_used"][name]) for name, said in KINDS.items()]
    said = table(
        ["answer", "questions", "p50, ms", "p99, ms"],
        [
            [name, f"{each['requests']:,}", f"{each['p50_ms']:.1f}", f"{each['p99_ms']:.1f}"]
            for name, each in rows
        ],
        texts=1,
    )
    said += (
        f"\n\nOf the server's processor an answer takes {found['cpu_ms']:.2f} ms; with "
        f"{found['members']:,} users in {found['segments']} segments it has "
        f"{found['memory_mb']:.0f} MB. (Measured at a load of {found['load']:.1f} on two cores.)"
    )
    return render(text, "serving", said)


if __name__ == "__main__":
    main()
