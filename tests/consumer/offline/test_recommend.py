"""Recommendations judged on streams in which it is known what can be found, and what cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pytest

from benchmarks.interests.plan import Shape, plan
from benchmarks.interests.texts import vectors_like_texts
from benchmarks.recommending.streams import KINDS, Items, Kind, chosen_items, item_events
from consumer.cli.main import main
from consumer.contract.errors import UsageError
from consumer.offline.evaluate import recommend
from consumer.offline.evaluate.choices import (
    NO_CATEGORY,
    Choices,
    category_of,
    commonest,
    latest,
)
from consumer.offline.evaluate.recommend import (
    CONTROL,
    LEAK,
    METHODS,
    POPULARITY,
    SEGMENT,
    RecommendFigures,
    evaluate_choices,
)
from consumer.offline.evaluate.recommenders import Past, has_als
from consumer.offline.evaluate.recommending import (
    render_recommendations,
    replayed_choices,
    verdicts,
)
from consumer.offline.files import event_file
from consumer.report.terminal import console
from consumer.settings import Settings
from models.profiles.policy import ProfilePolicy
from models.recommendation.factors import Factors
from models.recommendation.policy import RecommendationPolicy
from schemas.events import UserEvent
from schemas.segment_model import NO_SEGMENT
from tests.stubs import HashingEmbedder

SHAPE = Shape(interests=4, users=250, events=9, single=0.2, focus=0.9)
POLICY, PROFILE = RecommendationPolicy(), ProfilePolicy()


def choices_of(kind: Kind, seed: int = 1) -> Choices:
    """A stream whose learned segments are the users' true interests."""
    planned = plan(SHAPE, seed)
    items = chosen_items(planned, kind, Items(each=12), seed)
    texts = vectors_like_texts().draw(planned.chosen[planned.about], np.random.default_rng(seed))
    names, item = np.unique(items, return_inverse=True)
    return Choices(
        users=tuple(f"u{number}" for number in range(SHAPE.users)),
        items=tuple(f"i{number}" for number in names.tolist()),
        user=planned.users,
        item=item,
        time=planned.times,
        segment=planned.truth[planned.users],
        category=planned.about,
        gain=np.ones(len(item)),
        vectors=texts.astype(np.float32),
    )


def judged(choices: Choices, **changes: object) -> RecommendFigures:
    return evaluate_choices(choices, POLICY, PROFILE, steps=3, **changes)


@pytest.fixture(scope="module")
def own_items() -> RecommendFigures:
    return judged(choices_of("own items"))


@pytest.fixture(scope="module")
def one_popularity() -> RecommendFigures:
    return judged(choices_of("one popularity"))


def test_where_segments_have_items_of_their_own_they_are_found_to_help(own_items):
    methods = own_items.classes[0].methods
    gap = methods[SEGMENT].against["ndcg@10"]
    assert gap.low > 0.05
    assert methods[CONTROL].against["ndcg@10"].low <= 0
    assert any("better than popularity" in line for line in verdicts(own_items))


def test_where_everybody_draws_from_one_popularity_no_segment_helps(one_popularity):
    methods = one_popularity.classes[0].methods
    assert methods[SEGMENT].against["ndcg@10"].low <= 0
    assert methods[CONTROL].against["ndcg@10"].low <= 0


def test_segments_are_smoothed_the_less_the_more_they_tell(own_items, one_popularity):
    priors = []
    for found in (own_items, one_popularity):
        tried = {float(prior): worth for prior, worth in found.prior_weights.items()}
        best = max(tried.values())
        # Of equals the greatest, which trusts segments least.
        assert found.chosen["prior_weight"] == max(p for p in tried if tried[p] == best)
        priors.append(found.chosen["prior_weight"])
    assert priors[0] < priors[1]


def test_who_knows_the_step_is_better_than_popularity_as_of_the_time(one_popularity):
    assert one_popularity.classes[0].methods[LEAK].against["ndcg@10"].low > 0


def test_a_leak_that_is_planted_raises_the_score_of_the_control(monkeypatch, one_popularity):
    """Were a user's group made of what the user chooses next, the control would tell."""
    choices = choices_of("one popularity")

    def leaking(choices: Choices, first: int, seed: int) -> np.ndarray:
        return latest(choices.user, choices.item, len(choices.users), -1)

    monkeypatch.setattr(recommend, "_shuffled", leaking)
    # Under a greater one groups of so few events would all be as everybody.
    monkeypatch.setattr(recommend, "_PRIORS", (20.0,))
    honest = one_popularity.classes[0].methods[CONTROL].measures["ndcg@10"]
    leaked = judged(choices).classes[0].methods[CONTROL].measures["ndcg@10"]
    assert leaked.low > honest.high


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_method_looks_beyond_the_moment(name, kind):
    if name == "ALS" and not has_als():
        pytest.skip("of an extra that is not installed")
    choices = choices_of(kind)
    end = len(choices) // 2
    stand_in = np.arange(len(choices.users)) % 3

    def scores(of: Choices) -> np.ndarray:
        factors = Factors(dimensions=4)
        for user, item in zip(choices.user[:end], choices.item[:end], strict=True):
            factors.learn(choices.users[user], choices.items[item])
        past = Past(of, end, int(choices.time[end]), POLICY, PROFILE, stand_in, factors)
        return METHODS[name](past, np.arange(40))

    later = np.arange(end, len(choices))
    changed = {
        column: getattr(choices, column).copy()
        for column in ("user", "item", "segment", "category", "gain")
    }
    for column in changed.values():
        column[later] = column[later][::-1]
    assert np.array_equal(scores(choices), scores(replace(choices, **changed)))


def test_segments_with_items_of_their_own_share_fewer_than_those_without(own_items, one_popularity):
    own, same = (
        [each.shared for each in figures.relations] for figures in (own_items, one_popularity)
    )
    assert len(own) == len(same) == own_items.segments * (own_items.segments - 1) // 2
    assert max(own) < min(same)


def test_figures_are_of_all_users_and_by_their_past_events(own_items):
    assert [(each.least, each.most) for each in own_items.classes] == [
        (0, None),
        (0, 0),
        (1, 2),
        (3, 5),
        (6, None),
    ]
    everybody, *parts = own_items.classes
    assert sum(part.rankings for part in parts) == everybody.rankings
    assert set(everybody.methods) == {*METHODS, LEAK} - set(own_items.without)
    for method in everybody.methods.values():
        assert 0 < method.coverage <= 1
        for interval in method.measures.values():
            assert 0 <= interval.low <= interval.mean <= interval.high <= 1


def test_users_without_an_event_get_what_is_popular(own_items):
    nobody = own_items.classes[1].methods
    if nobody:
        assert nobody[SEGMENT].measures == nobody[POPULARITY].measures


def test_the_same_stream_and_seed_give_the_same_figures(own_items):
    assert judged(choices_of("own items")).to_dict() == own_items.to_dict()


def test_figures_are_printed_with_a_sentence_on_each_class(own_items):
    out = StringIO()
    render_recommendations(console(out, width=200), own_items)
    assert "All users" in out.getvalue()
    assert "Chosen on the steps before: half_life_days" in out.getvalue()
    assert json.loads(json.dumps(own_items.to_dict()))["events"] == own_items.events


def test_a_stream_in_which_nothing_can_be_foretold_is_refused():
    choices = choices_of("own items")
    each_its_own = replace(
        choices,
        item=np.arange(len(choices)),
        items=tuple(map(str, range(len(choices)))),
    )
    with pytest.raises(UsageError, match="nothing to foretell"):
        judged(each_its_own)


@pytest.mark.parametrize(
    ("record", "category"),
    [
        (b'{"tags": ["a", "b"]}', "a"),
        (b'{"tags": "c"}', "c"),
        (b'{"tags": []}', None),
        (b'{"tags": {"a": 1}}', None),
        (b"{}", None),
        (b"no json", None),
        (None, None),
    ],
)
def test_a_category_is_text_or_the_first_of_a_list(record, category):
    assert category_of(record, "tags") == category


def test_the_commonest_and_the_latest_value_of_each_owner():
    owners = np.array([0, 0, 0, 1, 1, 3])
    values = np.array([5, 5, 2, 7, 4, NO_CATEGORY])
    assert commonest(owners, values, 4, NO_CATEGORY).tolist() == [5, 4, -1, -1]
    assert latest(owners, values, 5, NO_CATEGORY).tolist() == [2, 4, -1, -1, -1]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_valid_events_and_only_in_one_items_follow_interests(kind):
    planned = plan(SHAPE, 1)
    first = next(iter(item_events(planned, kind)))
    UserEvent.model_validate_json(json.dumps({k: v for k, v in first.items() if k != "label"}))
    items = chosen_items(planned, kind, Items(each=12))
    share = float((items // 12 == planned.about).mean())
    assert share == 1.0 if kind == "own items" else 0.15 < share < 0.35


def test_a_replay_notes_who_chose_what_with_the_segment_and_the_texts_vector(tmp_path):
    planned = plan(Shape(interests=3, users=50, events=6, single=0), 2)
    stream = list(item_events(planned, "own items"))
    # One that names no item, and is no choice.
    del stream[5]["item_id"]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in stream), encoding="utf-8")
    settings = Settings(training={"segments": 3, "warmup_users": 20})
    embedder = HashingEmbedder(32)
    file = event_file(path, settings.events.intake())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = replayed_choices(file, settings, embedder, category="label", now=now)
    named = [each for each in stream if "item_id" in each]
    assert [found.users[place] for place in found.user] == [each["user_id"] for each in named]
    assert [found.items[place] for place in found.item] == [each["item_id"] for each in named]
    labels = list(dict.fromkeys(each["label"] for each in named))
    assert [labels[place] for place in found.category] == [each["label"] for each in named]
    assert found.vectors.shape == (len(named), 32)
    assert len(set(found.segment.tolist()) - {NO_SEGMENT}) > 1
    assert found.gain.tolist() == [1.0] * len(named)


def test_a_file_without_items_is_refused_by_name(tmp_path):
    path = tmp_path / "events.jsonl"
    first = next(iter(item_events(plan(SHAPE, 1), "own items")))
    del first["item_id"]
    path.write_text(json.dumps(first) + "\n", encoding="utf-8")
    settings = Settings()
    file = event_file(path, settings.events.intake())
    with pytest.raises(UsageError, match=r"no accepted event of .*events\.jsonl has an item_id"):
        replayed_choices(file, settings, HashingEmbedder(8))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recommend", "--label", "topic"], "--label is for segments"),
        (["--category", "tags"], "--category is for recommendations"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, told, tmp_path, capsys):
    file = tmp_path / "events.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    assert main(["evaluate", str(file), *arguments]) == 2
    assert told in capsys.readouterr().err
