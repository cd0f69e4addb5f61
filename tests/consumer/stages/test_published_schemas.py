"""What subscribers get fits the schemas that they read, and so will what later versions add."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError
from pydantic import ValidationError as ContractError

from consumer.contract.records import Record
from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.tryout.demo.contents import count_changes
from consumer.tryout.demo.story import Story, tell
from consumer.verify import ViolationKind, verify_folder
from consumer.verify.follow import Follower
from consumer.verify.watch import ReadUp
from schemas.changes import SegmentChange
from schemas.dead_letters import DeadLetter
from schemas.generate import CONTRACTS, FOLDER
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord
from schemas.segment_model import SegmentModelRecord
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, event

PUBLISHED = {
    "segment-changes.jsonl": "segment-changes",
    "memberships.jsonl": "segment-changes",
    "segment-lifecycle.jsonl": "segment-lifecycle",
    "dead-letters.jsonl": "dead-letter",
}
STATE = {"profiles.jsonl": "user-profiles", "model.json": "segment-models"}
GROWING = ("status", "reason", "type")
STRING = {"type": "string"}
JSON = (("content-type", b"application/json"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay writes of two interests between which some users move, and of bad lines."""
    root = tmp_path_factory.mktemp("replay")
    draw = np.random.default_rng(5)
    lines = ["{", '{"user_id": "x"}']
    for n in range(200):
        user = int(draw.integers(20))
        words = draw.choice(TOPICS[(user + (n > 100 and user % 3 == 0)) % 2].split(), 3)
        lines.append(json.dumps(event(f"user-{user}", n % 150, " ".join(words), event_id=str(n))))
    (root / "events.jsonl").write_text("\n".join(lines))
    settings = Settings(
        training={"segments": 2, "warmup_users": 10, "sample_users": 60, "reseed_every": 50},
        batch={"max_records": 32},
    )
    replay_file(root / "events.jsonl", root / "out", settings, EMBEDDER, now=NOW)
    return root / "out"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def records_in(folder: Path, file: str) -> list[dict[str, Any]]:
    path = folder / file
    lines = lines_of(path) if path.suffix == ".jsonl" else [json.loads(path.read_text())]
    return [line.get("data", line) for line in lines]


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return schema


def grown(value: Any, names: Collection[str] = GROWING) -> Any:
    """Give a record of a later version: further fields at every level, values that are new."""
    if isinstance(value, list):
        return [grown(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    later = {
        name: "of_a_later_version" if name in names else grown(each, names)
        for name, each in value.items()
    }
    return {**later, "added_later": {"any": ["thing"]}}


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema.get("$defs", {}).values()


# --- the schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_property_of_every_schema_is_described(name: str) -> None:
    schema = schema_of(name)
    definitions = schema.get("$defs", {})

    def described(value: dict[str, Any]) -> bool:
        referred = definitions.get(value.get("$ref", "").removeprefix("#/$defs/"), {})
        return bool(value.get("description") or referred.get("description"))

    assert [
        field
        for each in objects(schema)
        for field, value in each.get("properties", {}).items()
        if not described(value)
    ] == []


def test_every_schema_has_an_id_of_its_own() -> None:
    ids = {name: schema_of(name)["$id"] for name in CONTRACTS}
    assert ids["segment-changes"] == "urn:segmenter:schema:segment-changes:1"
    assert ids["segment-models"] == "urn:segmenter:schema:segment-models:4"
    assert len(set(ids.values())) == len(CONTRACTS)


# --- the records ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "name"), [*PUBLISHED.items(), *STATE.items()])
def test_what_is_written_fits_its_schema(folder: Path, file: str, name: str) -> None:
    validator = Draft202012Validator(schema_of(name))
    records = records_in(folder, file)
    assert records
    for record in records:
        validator.validate(record)


def closed(schema: Any) -> Any:
    """Give the schema that has the fields and the names of this version and no others."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if "properties" in found:
        found["additionalProperties"] = False
    if (either := found.get("anyOf")) and "$ref" in either[0] and either[1:] == [STRING]:
        found["anyOf"] = either[:1]
    return found


@pytest.mark.parametrize(("file", "name"), PUBLISHED.items())
def test_what_is_written_has_no_fields_and_no_names_that_the_schema_lacks(
    folder: Path, file: str, name: str
) -> None:
    validator = Draft202012Validator(closed(schema_of(name)))
    for record in records_in(folder, file):
        validator.validate(record)
        for later in ({**record, "added_later": 1}, grown(record)):
            assert not validator.is_valid(later)


@pytest.mark.parametrize(("file", "name"), PUBLISHED.items())
def test_a_record_of_a_later_version_fits_the_schema_that_subscribers_have(
    folder: Path, file: str, name: str
) -> None:
    validator = Draft202012Validator(schema_of(name))
    for record in records_in(folder, file):
        assert grown(record) != record
        validator.validate(grown(record))


@pytest.mark.parametrize(("file", "name"), STATE.items())
def test_a_newer_field_of_the_state_is_refused_and_not_lost(
    folder: Path, file: str, name: str
) -> None:
    contract = {"user-profiles": ProfileRecord, "segment-models": SegmentModelRecord}[name]
    record = records_in(folder, file)[0]
    contract.model_validate(record)
    with pytest.raises(ValidationError, match="Additional properties"):
        Draft202012Validator(schema_of(name)).validate({**record, "added_later": 1})
    with pytest.raises(ContractError, match="added_later"):
        contract.model_validate({**record, "added_later": 1})


def test_a_transition_that_a_later_version_knows_is_refused_in_the_state(folder: Path) -> None:
    (model,) = records_in(folder, "model.json")
    transition = records_in(folder, "segment-lifecycle.jsonl")[0]
    for name in ("version", "at", "previous_label"):
        del transition[name]
    SegmentModelRecord.model_validate({**model, "transitions": [transition]})
    for later in ({"type": "of_a_later_version"}, {"added_later": 1}):
        with pytest.raises(ContractError, match=r"transitions\.0"):
            SegmentModelRecord.model_validate({**model, "transitions": [transition | later]})


@pytest.mark.parametrize("file", ["segment-changes.jsonl", "segment-lifecycle.jsonl"])
def test_a_cloudevent_names_the_schema_of_its_data(folder: Path, file: str) -> None:
    assert {line["dataschema"] for line in lines_of(folder / file)} == {
        schema_of(PUBLISHED[file])["$id"]
    }


# --- our own readers ------------------------------------------------------------------------------


def rewrite(folder: Path, target: Path, change: Any) -> Path:
    """Copy what a replay wrote, the published records changed."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for file in PUBLISHED:
        lines = [json.dumps(change(line)) for line in lines_of(folder / file)]
        (target / file).write_text("".join(f"{line}\n" for line in lines))
    return target


def test_verify_passes_over_fields_and_reasons_of_a_later_version(
    folder: Path, tmp_path: Path
) -> None:
    assert verify_folder(folder).exit_code == 0

    def later(line: dict[str, Any]) -> Any:
        return grown(line, ["reason"])

    result = verify_folder(rewrite(folder, tmp_path / "later", later))
    assert result.exit_code == 0, result.render()


def test_verify_tells_of_changes_whose_ids_it_cannot_check_since_their_kind_is_new(
    folder: Path, tmp_path: Path
) -> None:
    last = lines_of(folder / "segment-changes.jsonl")[-1]

    def later(line: dict[str, Any]) -> dict[str, Any]:
        if line == last:
            return {**line, "id": "made-otherwise", "data": {**line["data"], "reason": "asked"}}
        return {**line, "reason": "asked"} if line == last["data"] else line

    result = verify_folder(rewrite(folder, tmp_path / "later", later))
    assert result.exit_code == 0, result.render()
    (untold,) = result.unchecked
    assert f"(1 {last['data']['status']} by asked)" in untold

    def forged(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "id": "made-otherwise"} if line == last else line

    known = verify_folder(rewrite(folder, tmp_path / "forged", forged))
    assert known.violations_by_kind == {ViolationKind.FORGED_ID: 1}


def as_record(line: dict[str, Any]) -> Record:
    """Give a line of `segment-changes.jsonl` as the record that it would be."""
    given = {name: each for name, each in line.items() if isinstance(each, str)}
    headers = tuple((f"ce_{name}", each.encode()) for name, each in given.items())
    value = json.dumps(line["data"]).encode()
    return Record("segment-changes", 0, 7, -1, line["subject"].encode(), value, headers + JSON)


def test_an_audit_that_goes_on_tells_of_each_new_kind_once(folder: Path) -> None:
    lines = [grown(line, ["reason"]) for line in lines_of(folder / "segment-changes.jsonl")]
    for line in lines:
        line.update(id=f"made-otherwise-{line['id']}", added_later="anything")
    follower = Follower(Settings())
    follower._read_up = ReadUp({("segment-changes", 0): 0}, now=0.0)
    for line in lines:
        follower._take(as_record(line), 0.0)
    kinds = {line["data"]["status"] for line in lines}
    news = follower.take_news()
    assert len(news) == len(kinds)
    assert all(str(each).startswith("not checked: the ids of changes") for each in news)


def test_verify_compares_fields_that_it_does_not_know(folder: Path, tmp_path: Path) -> None:
    def later(line: dict[str, Any]) -> dict[str, Any]:
        if "data" in line:
            return {**line, "data": {**line["data"], "colour": "red"}}
        return {**line, "colour": "blue"} if "sequence" in line else line

    result = verify_folder(rewrite(folder, tmp_path / "later", later))
    assert set(result.violations_by_kind) == {ViolationKind.MEMBERSHIP_DIFFERS}
    assert "fields that differ: colour" in result.render()


def test_verify_reads_cloudevents_of_an_earlier_version_that_name_no_schema(
    folder: Path, tmp_path: Path
) -> None:
    def earlier(line: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in line.items() if name != "dataschema"}

    result = verify_folder(rewrite(folder, tmp_path / "earlier", earlier))
    assert result.exit_code == 0, result.render()


def test_verify_finds_another_schema_than_that_of_the_data(folder: Path, tmp_path: Path) -> None:
    def wrong(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "dataschema": "urn:another"} if "data" in line else line

    result = verify_folder(rewrite(folder, tmp_path / "wrong", wrong))
    assert result.exit_code == 1
    assert "dataschema" in result.render()


def test_readers_keep_what_they_do_not_know_by_its_name(folder: Path) -> None:
    record = grown(records_in(folder, "segment-changes.jsonl")[0])
    change = SegmentChange.model_validate_json(json.dumps(record))
    assert (change.status, change.reason) == ("of_a_later_version", "of_a_later_version")
    assert json.loads(change.model_dump_json())["reason"] == "of_a_later_version"
    event_ = grown(records_in(folder, "segment-lifecycle.jsonl")[0])
    assert LifecycleEvent.model_validate(event_).type == "of_a_later_version"
    letter = grown(records_in(folder, "dead-letters.jsonl")[0])
    assert DeadLetter.model_validate(letter).refusal.reason == "of_a_later_version"


def test_the_demo_tells_of_a_change_that_it_does_not_know(folder: Path) -> None:
    changes = [
        SegmentChange.model_validate(grown(record))
        for record in records_in(folder, "segment-changes.jsonl")
    ]
    counts = count_changes(changes)
    assert (counts.entered, counts.switched_by_model, counts.exited) == (0, 0, 0)
    telling = tell(Story(changes[0].user_id, changes[:1], []))
    assert telling is not None
    assert "of_a_later_version" in telling.headline
    assert "of_a_later_version" in telling.reason
