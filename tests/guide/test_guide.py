"""The guide's blocks lead to a group at work, on a broker that is there."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from consumer.tryout.broker import EmbeddedKafka
from tests.guide import run
from tests.guide.terminals import (
    Block,
    GuideError,
    follow,
    guide_blocks,
    plain_environment,
    terminals,
)

# What is here already: packages, the model, a broker.
THERE = ("make install", "segmenter broker")


def test_the_blocks_lead_to_changes_and_to_an_audit_without_a_complaint(tmp_path: Path):
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        servers = kafka.bootstrap_servers
        folder = tmp_path / "checkout"
        folder.mkdir()
        environment = plain_environment(
            PATH=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            SEGMENTER_KAFKA__BOOTSTRAP_SERVERS=servers,
        )
        blocks = [
            Block(
                # A port that is free, the broker's, and all at once.
                each.words.replace(" 8080", " 0")
                .replace("localhost:9092", servers)
                .replace("--rate 50", "--rate 2000"),
                each.stays,
            )
            for each in guide_blocks()
            if not each.words.startswith(THERE)
        ]
        done: list[str] = []
        with terminals(folder, environment) as opened:
            follow(opened, blocks, done.append, 120)
    assert done[-1] == "segmenter status"  # and verify, in one block
    assert [each.stays for each in blocks if each.stays] == ["worker", "trainer", "changes"]


def test_nothing_is_done_where_another_listens_on_the_guides_ports(caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert run.main(["--broker-port", port, "--http-port", "1"]) == 2
    assert f"port {port}" in caplog.text


def test_what_the_guide_leaves_to_somebody_is_told_when_it_ends(tmp_path: Path):
    with terminals(tmp_path, plain_environment()) as opened:
        opened.start(Block("bash -c 'echo no; exit 7'", "worker"))
        with pytest.raises(GuideError, match="worker ended with 7:\nno"):
            opened.until(lambda: False, "nothing", 20)
    with pytest.raises(GuideError, match="ended with 1: false"):
        opened.run("false", 20)
