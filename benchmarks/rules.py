"""What rules cost: CPU time of an event under 20 rules, and of looking at everybody under others.

    python -m benchmarks.rules [--users N]

The stage of `segmenter rules run` without Kafka. Events of made-up users, of whom few write much
and most a little, over 90 days; batches of 512. The same stream under no rules, under 5 and under
20 is done in turns, so that the difference is the rules'. Then all rules are others: each user is
looked at.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np

from benchmarks.machine import facts
from benchmarks.markdown import columns
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from consumer.contract.records import Record, RecordColumns
from consumer.settings import Settings
from consumer.stages.rules.stage import RuleStage
from models.rules.rule_set import RuleSet

START = datetime(2026, 1, 1, tzinfo=UTC)
ALL = frozenset({0})
BATCH = 512
RULES = {
    "regular": 'count("review", "30d") >= 5',
    "busy": 'count("7d") > 10',
    "loyal": 'count("purchase", "60d") >= 4',
    "window-shopper": 'count("view", "7d") > 5 && count("purchase", "30d") == 0',
    "unhappy": 'mean_rating("60d") < 2.0 && count("review", "60d") >= 3',
    "happy": 'mean_rating("60d") > 4.5 && count("review", "60d") >= 3',
    "reviewer": 'count(["review", "comment"], "60d") > 8',
    "lapsed": 'count("60d") >= 8 && silent_for("14d")',
    "coming": '!known_for("7d") && count("7d") >= 4',
    "german": 'attributes.country == "DE" && count("30d") >= 6',
    "abroad": '!(attributes.country in ["DE", "AT", "CH"]) && count("30d") >= 8',
    "app": 'attributes.channel.startsWith("app") && count("purchase", "30d") >= 3',
    "asks": 'count("question", "30d") > count("answer", "30d") + 3',
    "answers": 'count("answer", "30d") >= 4',
    "german-buyer": 'attributes.country == "DE" && count("purchase", "60d") >= 4',
    "worse": 'mean_rating("14d") + 2.0 < mean_rating("60d")',
    "clicks": 'count("click", "1d") >= 3 || count("view", "1d") >= 3',
    "often": 'count("14d") * 2 > count("60d") && count("60d") >= 10',
    "waiting": 'segment == 4 && count("30d") >= 4',
    "torn": 'count("review", "60d") >= 4 && mean_rating("60d") > 2.5 && mean_rating("60d") < 3.5',
}
OTHERS = {name: source.replace("0d", "1d") for name, source in RULES.items()}


def stream(users: int, events: int, seed: int = 3) -> list[Record]:
    """Make events in the order of time, of users by a heavy-tailed share."""
    draw = np.random.default_rng(seed)
    shares = draw.pareto(1.2, users) + 0.2
    whose = draw.choice(users, events, p=shares / shares.sum())
    whose[:users] = draw.permutation(users)[: len(whose[:users])]
    draw.shuffle(whose)
    times = np.sort(draw.random(events)) * 90
    kinds = draw.choice(
        ["review", "comment", "question", "answer", "purchase", "view", "click"], events
    )
    ratings = draw.integers(1, 6, events)
    found = []
    for number, (user, day, kind) in enumerate(zip(whose, times, kinds, strict=True)):
        value = {
            "event_id": f"e{number}",
            "user_id": f"user-{user}",
            "type": kind,
            "text": "a few words on something",
            "occurred_at": (START + timedelta(days=float(day))).isoformat(),
        }
        if kind == "review":
            value["rating"] = int(ratings[number])
        if number % 3 == 0:
            value["attributes"] = {"country": ("DE", "AT", "FR")[user % 3], "channel": "app-ios"}
        key = str(value["user_id"]).encode()
        found.append(Record("user-events", 0, number, -1, key, json.dumps(value).encode()))
    return found


def stage_of(sources: dict[str, str]) -> RuleStage:
    """Give a stage under rules, which has its partition."""
    settings = Settings.model_validate({"rules": {"enabled": True, "segments": sources}})
    rules = RuleSet.of(sources, settings.rules.longest_window, settings.rules.kept_events)
    now = START + timedelta(days=91)
    return RuleStage(settings, rules, lambda: now, lambda: now)


def follow(stage: RuleStage, records: Sequence[Record]) -> tuple[Figures, dict[bytes, bytes]]:
    """Do a stream; give µs of CPU an event by part, and the states that were written."""
    stage.assigned(0, stage.restoration(0))
    seconds = {"read": 0.0, "apply": 0.0, "sweep": 0.0}
    states: dict[bytes, bytes] = {}
    changes = 0
    waiting = iter(records)
    for batch in iter(lambda: list(islice(waiting, BATCH)), []):
        begin = time.process_time()
        prepared = stage.prepare(batch)
        read = time.process_time()
        outputs = list(stage.apply(prepared, ALL))
        stage.committed()
        applied = time.process_time()
        while (more := stage.maintain(idle=False)) is not None:
            stage.committed()
            outputs += more
        seconds["sweep"] += time.process_time() - applied
        seconds["read"] += read - begin
        seconds["apply"] += applied - read
        for output in outputs:
            changes += output.topic == "rule-changes"
            if output.topic == "rule-states" and output.value is not None:
                states[output.key or b""] = output.value
    figures = {f"{part}_us": spent / len(records) * 1e6 for part, spent in seconds.items()}
    return {**figures, "changes": changes / len(records)}, states


def look_at_all(states: dict[bytes, bytes]) -> Figures:
    """Read states back under other rules, and look at everybody."""
    stage = stage_of(OTHERS)
    restoration = stage.restoration(0)
    keys, values = [*states], [*states.values()]
    begin = time.process_time()
    for start in range(0, len(keys), 10_000):
        part = slice(start, start + 10_000)
        restoration.load_many(
            RecordColumns("rule-states", 0, range(len(keys))[part], keys[part], values[part])
        )
    restored = time.process_time() - begin
    stage.assigned(0, restoration)
    left = dict(stage.figures())["rule_users_to_look_at"]
    begin, changes = time.process_time(), 0
    while (outputs := stage.maintain(idle=False)) is not None:
        stage.committed()
        changes += sum(output.topic == "rule-changes" for output in outputs)
    spent = time.process_time() - begin
    return {
        "users": left,
        "seconds_a_million": spent / len(keys) * 1e6,
        "changes": changes,
        "restored_users_a_second": len(keys) / restored,
    }


def bytes_a_user(states: dict[bytes, bytes]) -> float:
    """Give what the states take in memory, all included, for a user."""
    stage = stage_of(RULES)
    tracemalloc.start()
    restoration = stage.restoration(0)
    keys, values = [*states], [bytes(bytearray(value)) for value in states.values()]
    restoration.load_many(RecordColumns("rule-states", 0, range(len(keys)), keys, values))
    del keys, values
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(states)


def measure(users: int, events: int, rounds: int) -> Figures:
    """Measure all."""
    records = stream(users, events)
    some = dict(islice(RULES.items(), 5))
    rows: dict[str, list[Figures]] = {"0": [], "5": [], "20": []}
    states: dict[bytes, bytes] = {}
    for number in range(rounds):
        for count, sources in {"0": {}, "5": some, "20": RULES}.items():
            found, states = follow(stage_of(sources), records)
            rows[count].append(found)
            say(f"round {number + 1}, {count} rules: {found}")
    best = {
        count: {name: min(each[name] for each in found) for name in found[0]}
        for count, found in rows.items()
    }
    return {
        "machine": facts(),
        "users": users,
        "events": events,
        "rounds": rounds,
        "rules": best,
        "others": look_at_all(states),
        "bytes_a_user": bytes_a_user(states),
        "state_bytes": sum(map(len, states.values())) / len(states),
    }


def render(figures: Figures) -> None:
    """Write the table into docs/rules.md."""
    none = figures["rules"]["0"]
    rows = [
        {
            "rules": count,
            **row,
            "own_us": row["apply_us"] + row["sweep_us"] - none["apply_us"] - none["sweep_us"],
        }
        for count, row in figures["rules"].items()
    ]
    table = columns(
        rows,
        {
            "rules": "{rules}",
            "read, µs an event": "{read_us:.1f}",
            "follow": "{apply_us:.1f}",
            "ends of windows": "{sweep_us:.1f}",
            "of these the rules' own": "{own_us:.1f}",
            "changes an event": "{changes:.2f}",
        },
    )
    others = figures["others"]
    said = (
        f"CPU time of one core, {figures['users']:,} users, {figures['events']:,} events, the "
        f"least of {figures['rounds']} rounds. With 20 rules that are all others, looking at a "
        f"million users takes {others['seconds_a_million']:.0f} s of CPU beside the events; states "
        f"are read back at {others['restored_users_a_second']:,.0f} users a second. A user takes "
        f"{figures['bytes_a_user']:.0f} bytes of memory here, all included."
    )
    write_page(DOCS / "rules.md", {"rules": f"{table}\n\n{said}"})


def main() -> None:
    made = parser(__doc__ or "", "rules.json", page=True)
    made.add_argument("--users", type=int, default=100_000, help="users of the stream")
    made.add_argument("--events", type=int, default=300_000, help="events of the stream")
    made.add_argument("--rounds", type=int, default=2, help="times that all is done")
    options = made.parse_args()
    render(run(options, lambda _: measure(options.users, options.events, options.rounds)))


if __name__ == "__main__":
    main()
