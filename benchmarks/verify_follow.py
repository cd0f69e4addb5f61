"""CPU and memory of `segmenter verify --follow`, on a broker that it starts itself.

    python benchmarks/verify_follow.py [--changes 20000]

Each change is a transaction's share of three records, as workers write them: the change, the
membership, and a profile of 384 dimensions with 64 event ids and 16 words (3 kB).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from consumer.kafka.topics import new_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower
from models.profiles.codec import encode
from models.profiles.table import ProfileRows
from schemas.arrays import encode_array
from schemas.changes import cloudevents_headers
from schemas.partitioner import partition_of
from tests.consumer.verify.histories import UserPath, history_of

CHANGES_A_USER = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--idle-seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedKafka(Path(folder)) as broker:
        settings = Settings(kafka={"bootstrap_servers": broker.bootstrap_servers})
        admin = AdminClient(settings.kafka.client())
        for future in admin.create_topics(new_topics(settings)).values():
            future.result(30)
        follower = Follower(settings)
        write(settings, options.changes)
        before, memory = time.process_time(), resident()
        with follower:
            while follower.report().changes < options.changes:
                time.sleep(0.1)
            assert follower.wait_settled(60)
            cpu = time.process_time() - before
            report = follower.report()
            grown = resident() - memory
            before = time.process_time()
            time.sleep(options.idle_seconds)
            idle = (time.process_time() - before) / options.idle_seconds
    assert not report.violations
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"{report.changes:,} changes of {report.users:,} users, {report.profiles:,} profiles")
    print(f"{cpu / report.changes * 10_000:.2f} CPU seconds for 10,000 changes with their records")
    print(f"{idle:.2%} of one CPU while nothing comes, on {settings.topics.partitions} partitions")
    print(f"{grown / 2**20:.0f} MiB more resident memory, fetch buffers included")


def write(settings: Settings, count: int) -> None:
    topics, users = settings.topics, max(1, count // CHANGES_A_USER)
    producer = Producer({**settings.kafka.client(), "transactional.id": str(uuid.uuid4())})
    producer.init_transactions(30)
    rng = np.random.default_rng(0)
    template = history_of({"x": UserPath([1, 2, 3, 1])})
    profile = template.profiles["x"].model_copy(
        update={
            "vector": encode_array(rng.normal(size=384), "<f4"),
            "recent_events": encode_array(rng.integers(0, 2**63, 64), "<u8"),
            "terms": {f"word{n}": 1.0 for n in range(16)},
            "events": 64,
        }
    )
    rows = ProfileRows.empty([""], 384, 64)
    for turn in range(CHANGES_A_USER):
        for first in range(0, users, 250):
            producer.begin_transaction()
            for user in range(first, min(users, first + 250)):
                key = f"user-{user}".encode()
                place = partition_of(key, topics.partitions)  # as of the events and the profile
                change = template.changes[turn]
                source = change.source and change.source.model_copy(update={"partition": place})
                update = {"user_id": key.decode(), "source": source}
                change = change.model_copy(update=update)
                value = change.model_dump_json().encode()
                headers = cloudevents_headers(change, "segmenter")
                producer.produce(topics.changes, value, key, headers=headers)
                producer.produce(topics.memberships, value, key, headers=headers)
                segment = change.segment
                assert segment
                state = {
                    "user_id": change.user_id,
                    "sequence": change.sequence,
                    "segment": segment.id,
                    "segment_label": segment.label,
                }
                rows.load_record(0, profile.model_copy(update=state))
                (value,) = encode(rows, profile.embedding)
                producer.produce(topics.profiles, value, key, place)
                producer.poll(0)
            producer.commit_transaction(30)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
