"""Settings: where they come from, what they refuse, and what they show."""

from __future__ import annotations

import logging
import os
from itertools import combinations

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from consumer.kafka.clients import admin_config, consumer_config, producer_config, reader_config
from consumer.kafka.groups import trainer_group
from consumer.settings import (
    KafkaSettings,
    Settings,
    SettingsFileError,
    TopicSettings,
)
from consumer.settings.agreed import agreed
from schemas.base import Section
from schemas.events import EventType
from schemas.mapping import PRESETS
from schemas.times import read_time


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path, monkeypatch):
    def write(text: str) -> None:
        path = tmp_path / "segmenter.toml"
        path.write_text(text)
        monkeypatch.setenv("SEGMENTER_CONFIG", str(path))

    return write


# --- where they come from -------------------------------------------------------------------------


def test_given_settings_come_before_environment_file_and_defaults(toml, monkeypatch):
    toml("[kafka]\ngroup_id = 'file'\ninstance_id = 'file'\nbootstrap_servers = 'file:1'")
    monkeypatch.setenv("SEGMENTER_KAFKA__GROUP_ID", "environment")
    monkeypatch.setenv("SEGMENTER_KAFKA__INSTANCE_ID", "environment")
    kafka = Settings(kafka={"group_id": "given"}).kafka
    assert kafka.group_id == "given"
    assert kafka.instance_id == "environment"
    assert kafka.bootstrap_servers == "file:1"
    assert kafka.auto_offset_reset == "earliest"


def test_a_section_may_come_as_json_in_the_environment(monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFKA", '{"properties": {"security.protocol": "SSL"}}')
    monkeypatch.setenv("SEGMENTER_KAFKA__GROUP_ID", "g")
    kafka = Settings().kafka
    assert (kafka.properties, kafka.group_id) == ({"security.protocol": "SSL"}, "g")


def test_a_file_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setenv("SEGMENTER_CONFIG", "/nowhere/segmenter.toml")
    with pytest.raises(SettingsFileError, match=r"file /nowhere/segmenter\.toml does not exist"):
        Settings()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[kafka]\ngruop_id = 'x'", "[kafak]\ngroup_id = 'x'", "grup = 1"])
def test_an_unknown_name_in_the_file_is_an_error_that_names_it(toml, text):
    toml(text)
    with pytest.raises(ValidationError, match=r"(?s)(kafka\.gruop_id|kafak|grup)\n.*not permitted"):
        Settings()


def test_an_unknown_name_in_a_section_of_the_environment_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFKA__GRUOP_ID", "x")
    with pytest.raises(ValidationError, match=r"kafka\.gruop_id\n"):
        Settings()


def test_an_unknown_section_in_the_environment_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFAK__GROUP_ID", "x")
    with pytest.raises(ValidationError, match=r"kafak\.group_id`\n.*not permitted"):
        Settings()


def test_what_a_cluster_puts_into_the_environment_is_left_alone(monkeypatch):
    monkeypatch.setenv("SEGMENTER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("SEGMENTER_PORT_9100_TCP", "tcp://10.0.0.1:9100")
    monkeypatch.setenv("OTHER_KAFKA__GROUP_ID", "x")
    assert Settings() == Settings()


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("kafka", "bootstrap_servers", ""),
        ("kafka", "instance_id", "a b"),
        ("kafka", "group_protocol", "eager"),
        ("topics", "partitions", 0),
        ("topics", "replication_factor", -2),
        ("topics", "replication_factor", 0),
        ("topics", "retention_hours", -0.5),
        ("topics", "retention_hours", 1e10),
        ("events", "max_text_chars", 0),
        ("events", "earliest", "1990-01-01"),
        ("events", "preset", "ebay"),
        ("events", "weights", {"view": 0}),
        ("events", "weights", {"review": 1001}),
        ("events", "weights", {"sneeze": 1}),
        ("embedding", "precision", "fp8"),
        ("embedding", "device", "tpu"),
        ("embedding", "threads", 0),
        ("embedding", "batch_tokens", 0),
        ("embedding", "gpu_sessions", 0),
        ("embedding", "long_texts", "split"),
        ("embedding", "max_chunks", 0),
        ("embedding", "cache_texts", -1),
        ("profile", "half_life_days", 0),
        ("profile", "half_life_days", float("nan")),
        ("profile", "event_memory", 0),
        ("assignment", "margin_share", -0.01),
        ("assignment", "margin_share", float("inf")),
        ("assignment", "margin_share", 1),
        ("assignment", "max_distance_share", 2.1),
        ("training", "segments", 0),
        ("training", "segments", 4097),
        ("training", "segments", "many"),
        ("training", "segments", True),
        ("training", "max_segments", 1),
        ("training", "seed", -1),
        ("assignment", "margin_share", float("nan")),
        ("assignment", "min_events", 0),
        ("assignment", "dwell_events", -1),
        ("assignment", "max_distance_share", float("nan")),
        ("assignment", "min_confidence", 1),
        ("assignment", "min_confidence", -0.1),
        ("assignment", "min_confidence", float("nan")),
        ("training", "algorithm", "odac"),
        ("training", "projection", "umap"),
        ("training", "projection_dimensions", 0),
        ("training", "sample_users", 7),
        ("training", "warmup_users", 0),
        ("training", "reseed_every", 0),
        ("labels", "max_labels", 1),
        ("labels", "remembered_users", 0),
        ("labels", "rehearsals", -1),
        ("labels", "publish_every", 0),
        ("labels", "min_events", 0),
        ("labels", "min_probability", 1.5),
        ("labels", "margin", 1),
        ("labels", "dwell_events", -1),
        ("drift", "significance", 0),
        ("drift", "significance", 0.5),
        ("drift", "segment_users", 3),
        ("batch", "max_records", 0),
        ("batch", "max_wait_seconds", 0),
        ("dead_letters", "max_share", 0),
        ("dead_letters", "max_value_bytes", 100),
        ("restore", "no_progress_seconds", 0),
        ("restore", "checkpoint_seconds", 0),
        ("restore", "checkpoint_max_age_hours", 0),
        ("http", "port", 65_536),
        ("log", "level", "LOUD"),
    ],
)
def test_a_value_out_of_bounds_is_an_error_that_names_it(section, name, value):
    with pytest.raises(ValidationError, match=rf"\n{section}\.{name}"):
        Settings(**{section: {name: value}})


def test_the_number_of_segments_is_given_or_found(monkeypatch):
    assert Settings(training={"segments": 4}).training.segments_given == 4
    assert Settings(training={"segments": "auto"}).training.segments_given is None
    monkeypatch.setenv("SEGMENTER_TRAINING__SEGMENTS", "12")
    assert Settings().training.segments == 12
    monkeypatch.setenv("SEGMENTER_TRAINING__SEGMENTS", "auto")
    assert Settings().training.segments == "auto"


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"kafka": {"transaction_timeout_seconds": 20, "max_poll_interval_seconds": 20}},
            r"kafka\.transaction_timeout_seconds \(20.*must be below",
        ),
        (
            {"assignment": {"max_distance": 0.9}},
            "max_distance was a dist.* give max_distance_share",
        ),
        ({"assignment": {"margin": 0.05}}, "margin was a distance and is gone: give margin_share"),
        ({"training": {"segments": 10, "sample_users": 19}}, "keep 20 users or more"),
        ({"training": {"warmup_users": 60, "sample_users": 59}}, "warmup_users is 60, more than"),
        (
            {"events": {"preset": "yelp-reviews", "mapping": {"constants": {"type": "review"}}}},
            "set either events.preset or events.mapping, not both",
        ),
        ({"events": {"mapping": {"fields": {"txet": ["a"]}}}}, "'txet', which is no field"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(sections, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Settings(**sections)


@pytest.mark.parametrize(
    "where", ["properties", "consumer_properties", "producer_properties", "secrets"]
)
@pytest.mark.parametrize(
    "name",
    [
        "bootstrap.servers",
        "metadata.broker.list",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "transactional.id",
    ],
)
def test_a_property_that_exactly_once_rests_on_cannot_be_passed_through(where, name):
    with pytest.raises(ValidationError, match=f"{name} is set by the project itself"):
        KafkaSettings(**{where: {name: "x"}})


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("auto.offset.reset", "auto_offset_reset"),
        ("max.poll.interval.ms", "max_poll_interval_seconds"),
        ("session.timeout.ms", "session_timeout_seconds"),
        ("transaction.timeout.ms", "transaction_timeout_seconds"),
    ],
)
def test_a_property_that_has_a_setting_is_refused_with_the_settings_name(name, setting):
    assert setting in KafkaSettings.model_fields
    with pytest.raises(ValidationError, match=rf"{name} is set by kafka\.{setting};"):
        KafkaSettings(properties={name: "1"})


# --- what they say --------------------------------------------------------------------------------


def described(model: type[BaseModel], path: str = ""):
    """Every field of a model and of the models in it, with its description."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from described(inner, f"{path}{name}.")
            if issubclass(inner, Section):
                continue
        yield f"{path}{name}", field.description


def test_every_setting_has_a_description_of_a_sentence():
    found = dict(described(Settings))
    assert len(found) > 50
    assert [name for name, text in found.items() if not (text or "").endswith(".")] == []


def test_every_section_says_what_it_is_for():
    for name, field in Settings.model_fields.items():
        assert issubclass(field.annotation, Section), name
        assert field.annotation.__doc__, name


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.jaas.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)
@pytest.mark.parametrize("where", ["properties", "consumer_properties", "producer_properties"])
def test_a_property_that_holds_a_secret_is_masked(where, name):
    settings = Settings(kafka={where: {name: "hunter2"}})
    assert settings.masked()["kafka"][where] == {name: "********"}


def test_secrets_are_masked_whatever_their_name_and_in_every_form():
    settings = Settings(kafka={"secrets": {"harmless.name": "hunter2"}})
    assert isinstance(settings.kafka.secrets["harmless.name"], SecretStr)
    for shown in (settings.masked(), settings.model_dump_json(), repr(settings), str(settings)):
        assert "hunter2" not in str(shown)
    assert settings.kafka.client()["harmless.name"] == "hunter2"


def test_what_is_no_secret_is_shown():
    shown = {"security.protocol": "SSL", "ssl.key.location": "/k.pem", "batch.size": "9"}
    masked = Settings(kafka={"properties": shown}, embedding={"batch_tokens": 8192}).masked()
    assert masked["kafka"]["properties"] == shown
    assert masked["embedding"]["batch_tokens"] == 8192
    assert "********" not in str(masked)


# --- what they become -----------------------------------------------------------------------------


def test_weights_that_are_not_given_are_1_and_the_others_as_given():
    weights = Settings(events={"weights": {"view": 0.25}}).events.weights
    assert weights.pop(EventType.VIEW) == 0.25
    assert set(weights) == set(EventType) - {EventType.VIEW}
    assert set(weights.values()) == {1.0}


def test_a_preset_reads_its_format():
    intake = Settings(events={"preset": "amazon-reviews"}).events.intake()
    assert intake.mapping.time_format == "epoch-milliseconds"


def test_every_preset_is_a_setting_and_goes_without_a_mapping():
    for name, mapping in PRESETS.items():
        assert Settings(events={"preset": name}).events.intake().mapping == mapping
        if name != "none":
            with pytest.raises(ValidationError, match="not both"):
                Settings(events={"preset": name, "mapping": {"time_format": "iso8601"}})


@pytest.mark.parametrize("value", ["iso8601", '["iso8601","epoch-seconds"]'])
def test_forms_of_time_can_be_set_without_a_file(value, monkeypatch):
    monkeypatch.setenv("SEGMENTER_EVENTS__MAPPING__TIME_FORMAT", value)
    mapping = Settings().events.intake().mapping
    assert read_time("2024-02-01", mapping._formats).year == 2024


def test_a_mapping_of_ones_own_reaches_the_intake():
    events = Settings(
        events={"mapping": {"fields": {"text": ["body"]}}, "max_text_chars": 5}
    ).events
    assert events.intake().mapping.fields == {"text": ["body"]}
    assert events.intake().max_text_chars == 5


def configs(kafka: KafkaSettings):
    return {
        "consumer": consumer_config(kafka, "g"),
        "reader": reader_config(kafka),
        "producer": producer_config(kafka, "t"),
        "admin": admin_config(kafka),
    }


def test_what_is_passed_through_reaches_the_clients_it_is_for():
    kafka = KafkaSettings(
        bootstrap_servers="k:1",
        properties={"security.protocol": "SSL"},
        secrets={"ssl.key.password": "hunter2"},
        consumer_properties={"fetch.min.bytes": "7"},
        producer_properties={"compression.type": "zstd"},
    )
    found = configs(kafka)
    for config in found.values():
        assert config["bootstrap.servers"] == "k:1"
        assert config["security.protocol"] == "SSL"
        assert config["ssl.key.password"] == "hunter2"
        assert config["logger"] is logging.getLogger("librdkafka")
    assert {who for who, c in found.items() if "fetch.min.bytes" in c} == {"consumer", "reader"}
    assert {who for who, c in found.items() if "compression.type" in c} == {"producer"}
    assert found["producer"]["compression.type"] == "zstd"


def test_clients_are_what_exactly_once_needs():
    kafka = KafkaSettings(transaction_timeout_seconds=1.5, instance_id="pod-1")
    found = configs(kafka)
    for who in ("consumer", "reader"):
        assert found[who]["isolation.level"] == "read_committed"
        assert found[who]["enable.auto.commit"] is False
    assert found["consumer"]["enable.auto.offset.store"] is False
    assert found["consumer"]["group.instance.id"] == "g-pod-1"
    assert found["producer"]["transactional.id"] == "t"
    assert found["producer"]["enable.idempotence"] is True
    assert found["producer"]["max.in.flight.requests.per.connection"] == 1
    assert found["producer"]["transaction.timeout.ms"] == 1500


def test_the_new_group_protocol_leaves_its_timing_to_the_broker():
    classic, new = (
        consumer_config(KafkaSettings(group_protocol=protocol), "g")
        for protocol in ("classic", "consumer")
    )
    of_classic = {
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
    }
    assert classic.keys() - new.keys() == of_classic
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"


TOPICS = [
    name
    for name, field in TopicSettings.model_fields.items()
    if field.annotation in (str, str | None) and name != "prefix"
]


@pytest.mark.parametrize(("one", "other"), [*combinations(TOPICS, 2)])
def test_no_topic_has_two_roles(one, other):
    with pytest.raises(ValidationError) as caught:
        TopicSettings(**{one: "same", other: "same"})
    told = str(caught.value)
    assert "'same'" in told
    assert one in told
    assert other in told


# --- a second group -------------------------------------------------------------------------------


def test_a_prefix_begins_the_names_of_all_topics_and_of_the_group():
    plain, prefixed = Settings(), Settings(topics={"prefix": "blue-"})
    names = dict(plain.topics.names())
    assert len(names) > 10
    assert dict(prefixed.topics.names()) == {name: f"blue-{each}" for name, each in names.items()}
    assert prefixed.kafka.group_id == "blue-segmenter"
    assert trainer_group(prefixed.kafka) == "blue-segmenter-trainer"
    assert prefixed.topics.raw_events is None
    assert prefixed.topics.partitions == plain.topics.partitions


@pytest.mark.parametrize("way", ["given", "environment", "file"])
def test_a_topic_or_group_that_is_named_has_just_that_name(way, toml, monkeypatch):
    named = {"prefix": "blue-", "events": "user-events", "raw_events": "reviews"}
    if way == "given":
        settings = Settings(topics=named, kafka={"group_id": "segmenter"})
    elif way == "environment":
        for name, value in named.items():
            monkeypatch.setenv(f"SEGMENTER_TOPICS__{name.upper()}", value)
        monkeypatch.setenv("SEGMENTER_KAFKA__GROUP_ID", "segmenter")
        settings = Settings()
    else:
        lines = "".join(f'{name} = "{value}"\n' for name, value in named.items())
        toml(f'[topics]\n{lines}[kafka]\ngroup_id = "segmenter"\n')
        settings = Settings()
    assert (settings.topics.events, settings.topics.raw_events) == ("user-events", "reviews")
    assert settings.kafka.group_id == "segmenter"
    assert settings.topics.profiles == "blue-user-profiles"


def test_a_prefix_in_one_source_and_a_name_in_another_go_together(toml, monkeypatch):
    toml('[topics]\nprefix = "blue-"\nchanges = "mine"\n')
    monkeypatch.setenv("SEGMENTER_TOPICS__EVENTS", "theirs")
    settings = Settings(kafka={"session_timeout_seconds": 6})
    assert (settings.topics.events, settings.topics.changes) == ("theirs", "mine")
    assert settings.topics.models == "blue-segment-models"
    assert settings.kafka.group_id == "blue-segmenter"
    monkeypatch.setenv("SEGMENTER_TOPICS__PREFIX", "none")
    assert Settings().topics.models == "segment-models"


@pytest.mark.parametrize("prefix", ["blue ", "blau/", "b" * 101, ""])
def test_a_prefix_that_kafka_takes_in_no_name_is_refused(prefix):
    with pytest.raises(ValidationError, match="prefix"):
        Settings(topics={"prefix": prefix})


def test_members_with_a_prefix_and_with_the_names_that_come_of_it_agree():
    prefixed = Settings(topics={"prefix": "blue-"})
    named = Settings(topics=dict(prefixed.topics.names()), kafka={"group_id": "blue-segmenter"})
    assert agreed(prefixed, "worker") == agreed(named, "worker")
    assert agreed(prefixed, "worker") != agreed(Settings(), "worker")
