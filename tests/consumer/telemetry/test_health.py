"""The port that an orchestrator and Prometheus ask."""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from consumer.contract.errors import UsageError
from consumer.contract.figures import Figures
from consumer.contract.records import Record
from consumer.settings import HttpSettings
from consumer.stages.segmentation.figures import figures
from consumer.stages.training.figures import figures as training_figures
from consumer.stages.training.stage import TrainingStage
from consumer.telemetry.health import Health, serving
from consumer.telemetry.metrics import FigureCollector, LoopMetrics, tell_role
from consumer.wiring.embedder import figures as embedder_figures
from models.embedding.engine.text_embedder import EmbeddingTotals
from models.embedding.runner_types import RunnerTotals
from tests.consumer.stages.stage_data import TOPICS, Worker, a_model, event, records


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """A server on a free port, its clock, and what it is asked about."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(60, self.clock)
        self.registry = CollectorRegistry()
        self.stack = ExitStack()
        server = serving(HttpSettings(host="127.0.0.1", port=0), self.health, self.registry)
        self.port = self.stack.enter_context(server)

    def get(self, path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            connection.close()

    def shows(self, figures: Callable[[], Figures]) -> FigureCollector:
        collector = FigureCollector(figures)
        self.registry.register(collector)
        return collector

    def metrics(self) -> dict[tuple[str, ...], float]:
        """By name and label values, in the order of the labels' names."""
        status, _, body = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }


def listen(settings: HttpSettings) -> None:
    with serving(settings, Health(60), CollectorRegistry()):
        pytest.fail("it listens")


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.stack.close()


def test_a_process_is_live_while_its_loop_turns(asked):
    asked.clock.now = 60
    assert asked.get("/healthz") == (200, "application/json", b'{"live": true}\n')
    asked.clock.now = 60.1
    assert asked.get("/healthz") == (503, "application/json", b'{"live": false}\n')
    asked.health.tick()
    assert asked.get("/healthz")[0] == 200


def test_a_process_that_is_not_ready_says_how_far_it_is(asked):
    asked.health.detail = {"restored": 0.25}
    status, _, body = asked.get("/readyz")
    assert (status, json.loads(body)) == (503, {"ready": False, "restored": 0.25})
    assert asked.get("/healthz")[0] == 200
    asked.health.ready, asked.health.detail = True, {}
    assert asked.get("/readyz?verbose=1") == (200, "application/json", b'{"ready": true}\n')


def test_a_process_that_no_broker_answers_is_not_ready(asked):
    connected = False
    asked.health.ready, asked.health.connected = True, lambda: connected
    assert asked.get("/readyz")[::2] == (503, b'{"ready": false, "connected": false}\n')
    assert asked.get("/healthz")[0] == 200
    connected = True
    assert asked.get("/readyz")[0] == 200


def test_facts_are_asked_for_at_the_moment_of_the_question(asked):
    version = 0
    asked.health.facts = lambda: {"model_version": version}
    assert json.loads(asked.get("/readyz")[2])["model_version"] == 0
    version = 7
    assert json.loads(asked.get("/readyz")[2])["model_version"] == 7


def test_another_path_is_told_which_there_are(asked):
    status, _, body = asked.get("/")
    assert (status, body) == (404, b"try /metrics, /healthz or /readyz\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/elsewhere"])
def test_head_answers_like_get_without_a_body(asked, path):
    connection = http.client.HTTPConnection("127.0.0.1", asked.port, timeout=30)
    connection.request("HEAD", path)
    answer = connection.getresponse()
    status, kind, body = asked.get(path)
    assert (answer.status, answer.headers["Content-Type"], answer.read()) == (status, kind, b"")
    if path != "/metrics":  # which counts the seconds of the process
        assert int(answer.headers["Content-Length"]) == len(body)
    connection.close()


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("::", ["::1", "127.0.0.1"]),
        ("[::]", ["::1", "127.0.0.1"]),
        ("::1", ["::1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
    ],
)
def test_it_listens_on_either_family_and_on_both_at_once(host, reached):
    settings = HttpSettings(host=host, port=0)
    with serving(settings, Health(60), CollectorRegistry()) as port:
        for address in reached:
            connection = http.client.HTTPConnection(address, port, timeout=30)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


def test_a_port_that_is_taken_is_named_with_its_setting(asked):
    taken = asked.port
    with pytest.raises(UsageError, match=f"http.port is {taken}, on which another process listens"):
        listen(HttpSettings(host="127.0.0.1", port=taken))


@pytest.mark.parametrize("host", ["nohost.invalid", "192.0.2.1", "fe80::1%nowhere", "a" * 300])
def test_an_address_that_is_not_this_machines_is_named_with_its_setting(asked, host):
    with pytest.raises(UsageError, match=f"http.host is '{host}', on which this machine cannot"):
        listen(HttpSettings(host=host, port=0))


def test_a_closed_server_answers_no_more():
    asked = Asked()
    asked.stack.close()
    with pytest.raises(ConnectionRefusedError):
        asked.get("/healthz")


def test_the_default_clock_does_not_go_back():
    assert Health(60).clock is time.monotonic


def test_metrics_of_a_worker_count_committed_work_only(asked):
    worker = Worker(a_model(), dead_letters={"max_share": 1})
    asked.shows(lambda: figures(worker.stage))
    later = event("u", 2)["occurred_at"]
    edited = event("u", 1, occurred_at=later, rating="?")
    batch = records([event("u", 1), edited, event("v", 1, TOPICS[1], type="comment")])
    worker.apply([*batch, Record("user-events", 0, 9, -1, b"u", None)])
    assert asked.metrics()["segmenter_events_total", "review"] == 0
    worker.stage.committed()
    found = asked.metrics()
    assert found["segmenter_events_total", "review"] == 1
    assert found["segmenter_events_total", "comment"] == 1
    assert found["segmenter_event_languages_total", "en"] == 2
    assert found["segmenter_repeated_events_total",] == 1
    assert found["segmenter_edited_events_total",] == 1
    assert found["segmenter_fields_left_out_total", "rating"] == 1
    assert found["segmenter_dead_letters_total", "missing_value"] == 1
    assert found["segmenter_segment_changes_total", "behaviour", "entered"] == 2
    assert found["segmenter_users", "0"] == found["segmenter_users", "1"] == 1
    assert (found["segmenter_model_version",], found["segmenter_settled",]) == (1, 1)


def test_counters_of_a_worker_are_there_before_the_first_event(asked):
    """Prometheus sees a counter rise from 0 to 1, but not from nothing to 1."""
    asked.shows(lambda: figures(Worker().stage))
    found = asked.metrics()
    for name, *labels in (
        ("segmenter_events_total", "purchase"),
        ("segmenter_dead_letters_total", "invalid_json"),
        ("segmenter_edited_events_total",),
        ("segmenter_fields_left_out_total", "language"),
        ("segmenter_segment_changes_total", "behaviour", "switched"),
        ("segmenter_segment_changes_total", "segment_merged", "exited"),
        ("segmenter_users", "none"),
    ):
        assert found[(name, *labels)] == 0


def test_figures_of_workers_add_up_to_those_of_one_that_has_all_partitions(asked):
    batches = [
        records([event(f"{user}-{partition}", 1, TOPICS[user % 2]) for user in range(5)], partition)
        for partition in range(3)
    ]
    alone, (first, second) = (
        Worker(a_model(), range(3)),
        (Worker(a_model(), p) for p in ([0], [1, 2])),
    )
    found = []
    for worker, share in ((alone, batches), (first, batches[:1]), (second, batches[1:])):
        for batch in share:
            worker.run(batch)
        collector = asked.shows(partial(figures, worker.stage))
        found.append(asked.metrics())
        asked.registry.unregister(collector)
    whole, *parts = found
    for name in ("events", "event_languages", "dead_letters", "segment_changes"):
        keys = [key for key in whole if key[0] == f"segmenter_{name}_total"]
        assert all(whole[key] == sum(part.get(key, 0) for part in parts) for key in keys)
    users = {key: n for key, n in whole.items() if key[0] == "segmenter_users"}
    assert users == {key: sum(part[key] for part in parts) for key in users}
    assert sum(users.values()) == 15


def test_a_segment_without_users_is_told_and_a_former_one_only_while_it_has_some(asked):
    worker = Worker(a_model())
    asked.shows(lambda: figures(worker.stage))
    worker.run(records([event("u", 1)]))
    found = asked.metrics()
    assert (found["segmenter_users", "0"], found["segmenter_users", "1"]) == (1, 0)
    newer = replace(a_model(2), ids=np.array([1, 7]), centres=a_model().centres[::-1])
    worker.source.model = newer
    worker.stage._adopt_newest()
    found = asked.metrics()
    assert (found["segmenter_users", "0"], found["segmenter_users", "7"]) == (1, 0)
    worker.maintain()
    found = asked.metrics()
    assert ("segmenter_users", "0") not in found
    assert (found["segmenter_users", "1"], found["segmenter_users", "7"]) == (0, 1)


def test_users_of_a_partition_that_is_given_up_are_no_longer_counted(asked):
    worker = Worker(a_model(), [0, 1])
    asked.shows(lambda: figures(worker.stage))
    worker.run(records([event("u", 1)], 0))
    worker.run(records([event("v", 1), event("w", 1)], 1))
    assert asked.metrics()["segmenter_users", "0"] == 3
    worker.stage.revoked(1)
    found = asked.metrics()
    assert found["segmenter_users", "0"] == 1
    # What was done here stays counted here.
    assert found["segmenter_events_total", "review"] == 3


class CountingEmbedder:
    """What the metrics ask of an embedder."""

    manifest = SimpleNamespace(name="tiny", precision="fp16", reads=("en",))
    identity, device, fell_back = "a" * 64, "cuda", False
    totals = EmbeddingTotals(
        texts=10,
        tokens=70,
        truncated=2,
        cache_hits=3,
        failed=1,
        unknown=4,
        letters={"latin": 60, "han": 40},
        tokenise_seconds=0.5,
        run_seconds=2.0,
    )
    runner_totals = RunnerTotals(
        batches=2, computed_tokens=9, oom_halvings=1, failed_texts=1, budget=8192
    )


def test_metrics_of_an_embedder_tell_what_it_is_and_what_it_has_done(asked):
    asked.shows(lambda: embedder_figures(CountingEmbedder()))
    found = asked.metrics()
    assert found["segmenter_embedded_texts_total",] == 7
    assert found["segmenter_embedded_tokens_total",] == 70
    assert found["segmenter_truncated_texts_total",] == 2
    assert found["segmenter_embedding_cache_hits_total",] == 3
    assert found["segmenter_embedding_failed_texts_total",] == 1
    assert found["segmenter_unknown_tokens_total",] == 4
    assert found["segmenter_embedded_letters_total", "han"] == 40
    assert found["segmenter_unread_letters_total",] == 40
    assert found["segmenter_embedding_computed_tokens_total",] == 9
    assert found["segmenter_embedding_oom_halvings_total",] == 1
    assert found["segmenter_embedding_batch_tokens",] == 8192
    assert found["segmenter_embedding_seconds_total", "tokenise"] == 0.5
    assert found["segmenter_embedding_seconds_total", "run"] == 2
    assert found["segmenter_embedding_fallback",] == 0
    assert found["segmenter_embedding_info", "cuda", "a" * 64, "tiny", "fp16"] == 1


def test_a_fallback_to_another_device_is_told(asked):
    embedder = CountingEmbedder()
    embedder.device, embedder.fell_back = "cpu", True
    asked.shows(lambda: embedder_figures(embedder))
    assert asked.metrics()["segmenter_embedding_fallback",] == 1


def test_users_without_a_segment_are_counted_as_such(asked):
    worker = Worker()
    asked.shows(lambda: figures(worker.stage))
    worker.run(records([event("u", 1)]))
    found = asked.metrics()
    assert (found["segmenter_users", "none"], found["segmenter_model_version",]) == (1, 0)


def test_metrics_of_a_trainer_are_there_before_the_first_model(asked):
    asked.shows(lambda: training_figures(TrainingStage(Worker().settings)))
    found = asked.metrics()
    assert found["segmenter_samples_total",] == found["segmenter_sampled_users",] == 0
    for kind in ("created", "split", "merged", "retired"):
        assert found["segmenter_segment_lifecycle_total", kind] == 0
    assert (found["segmenter_model_version",], found["segmenter_settled",]) == (0, 1)


def test_the_lag_of_a_partition_that_went_elsewhere_is_no_longer_told(asked):
    metrics = LoopMetrics(asked.registry)
    metrics.lag.labels("3").set(17)
    assert asked.metrics()["segmenter_lag_records", "3"] == 17
    metrics.forget(3)
    metrics.forget(4)  # of which nothing was told
    assert ("segmenter_lag_records", "3") not in asked.metrics()


def test_what_a_loop_counts_is_there_before_the_first_record(asked):
    metrics = LoopMetrics(asked.registry)
    metrics.behind(2, 5, None)
    found = asked.metrics()
    assert (found["segmenter_lag_records", "2"], found["segmenter_records_total", "2"]) == (5, 0)
    for outcome in ("committed", "aborted", "unknown"):
        assert found["segmenter_transactions_total", outcome] == 0
    for kind in ("assign", "revoke", "lost"):
        assert found["segmenter_rebalances_total", kind] == 0
    metrics.records.labels("2").inc(9)
    metrics.forget(2)
    assert asked.metrics()["segmenter_records_total", "2"] == 9


def test_the_age_of_what_waits_grows_while_the_loop_stands_still(asked):
    now = [1000.0]
    metrics = LoopMetrics(asked.registry, lambda: now[0])
    metrics.behind(0, 5, 990.0)
    metrics.behind(1, 0, math.inf)
    metrics.behind(2, 3, None)
    metrics.behind(3, 1, 1002.5)  # by a producer whose clock is ahead
    lag = "segmenter_lag_seconds"
    found = asked.metrics()
    assert (found[lag, "0"], found[lag, "1"], found[lag, "3"]) == (10, 0, 0)
    assert (lag, "2") not in found
    now[0] += 60
    found = asked.metrics()
    assert (found[lag, "0"], found[lag, "1"]) == (70, 0)
    metrics.behind(0, 5, None)
    metrics.forget(1)
    assert {key for key in asked.metrics() if key[0] == lag} == {(lag, "3")}


def test_freshness_is_that_of_each_record_whose_time_is_known(asked):
    metrics = LoopMetrics(asked.registry, lambda: 1e6)
    ages = [None, 0.04, 0.06, 0.06, 400.0, 90000.0, -3.0]
    metrics.committed(
        [
            Record("t", 0, n, -1 if age is None else round((1e6 - age) * 1000), None, None)
            for n, age in enumerate(ages)
        ]
    )
    name = "segmenter_freshness_seconds"
    counts = {
        bound: asked.registry.get_sample_value(f"{name}_bucket", {"le": bound})
        for bound in ("0.05", "0.1", "300.0", "1800.0", "86400.0", "+Inf")
    }
    assert counts == {"0.05": 2, "0.1": 4, "300.0": 4, "1800.0": 5, "86400.0": 5, "+Inf": 6}
    assert asked.registry.get_sample_value(f"{name}_count") == 6
    assert asked.registry.get_sample_value(f"{name}_sum") == pytest.approx(90400.16)


def test_a_process_tells_its_role_and_version(asked):
    tell_role(asked.registry, "trainer", "shop")
    told = ("segmenter_process_info", "shop", "trainer", version("segmenter"))
    assert asked.metrics()[told] == 1


def test_a_restore_is_told_in_figures_and_an_unknown_rest_is_no_number(asked):
    metrics = LoopMetrics(asked.registry).restore
    metrics.show(1000, None)
    found = asked.metrics()
    assert found["segmenter_restore_records",] == 1000
    assert math.isnan(found["segmenter_restore_eta_seconds",])
    metrics.show(0, 0.0)
    metrics.dropped.labels("damaged").inc()
    found = asked.metrics()
    assert found["segmenter_restore_records",] == found["segmenter_restore_eta_seconds",] == 0
    assert found["segmenter_restored_partitions_total", "checkpoint"] == 0
    assert found["segmenter_checkpoint_writes_total", "failed"] == 0
    assert found["segmenter_checkpoints_dropped_total", "damaged"] == 1
