from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.segments.model import SegmentModel, SegmentModelError
from schemas.segment_model import NO_SEGMENT, SegmentModelRecord
from tests.models.synthetic import EMBEDDING


def a_model(**changes) -> SegmentModel:
    """Three segments on a line: 2 at 0, 5 at 1, 6 at 3."""
    fields = {
        "version": 4,
        "embedding": EMBEDDING,
        "ids": np.array([2, 5, 6]),
        "centres": np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]),
        "radii": np.array([0.5, 0.25, 0.125]),
        "sizes": np.array([10, 20, 0]),
        "labels": ("hops, ale", "qubit, gate", "segment 6"),
        "words": (("hops", "ale"), ("qubit", "gate"), ()),
        "since": (1, 3, 4),
        "next_id": 7,
        "sample_threshold": 0.25,
        "samples": 1234,
        "seed": 7,
    }
    return SegmentModel(**(fields | changes))


def test_a_model_comes_back_from_json_bit_for_bit():
    centres = np.random.default_rng(0).normal(size=(3, 384))
    model = a_model(centres=centres)
    text = model.to_record().model_dump_json()
    back = SegmentModel.from_record(SegmentModelRecord.model_validate_json(text))
    assert back.centres.tobytes() == centres.tobytes()
    assert back.to_record() == model.to_record()
    assert back.to_record().model_dump_json() == text


def test_a_centre_of_the_wrong_length_is_refused():
    record = a_model().to_record().model_copy(update={"dimensions": 3})
    with pytest.raises(SegmentModelError, match="segment 2 has 2 numbers where dimensions says 3"):
        SegmentModel.from_record(record)


def test_a_models_arrays_are_its_own_and_read_only():
    centres = np.eye(3)
    model = a_model(centres=centres)
    centres[0, 0] = 9
    assert model.centres[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        model.centres[0, 0] = 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": np.array([2, 5])}, "ids has the shape"),
        ({"ids": np.array([5, 2, 6])}, "ascending"),
        ({"ids": np.array([2, 2, 6])}, "none twice"),
        ({"ids": np.array([-1, 2, 6])}, "from 0"),
        ({"next_id": 6}, "below next_id"),
        ({"centres": np.empty((0, 2))}, "at least one segment"),
        ({"centres": np.empty((3, 0))}, "at least one segment"),
        ({"centres": np.ones(3)}, "one row of numbers"),
        ({"centres": np.array([[0, 0], [1, math.nan], [2, 0]])}, "finite"),
        ({"radii": np.array([1, 1, math.inf])}, "finite"),
        ({"radii": np.array([1, -1, 1])}, "radii holds -1"),
        ({"radii": np.ones((3, 1))}, "radii has the shape"),
        ({"sizes": np.array([1, -1, 1])}, "sizes holds -1"),
        ({"labels": ("a", "b")}, "labels has 2 entries"),
        ({"words": ((),)}, "words has 1 entries"),
        ({"since": (1,)}, "since has 1 entries"),
        ({"since": (1, 2, 5)}, "since is"),
        ({"version": 0, "since": (0, 0, 0)}, "version is 0"),
        ({"sample_threshold": 0.0}, "sample_threshold is 0.0"),
        ({"sample_threshold": 1.5}, "sample_threshold is 1.5"),
        ({"sample_threshold": math.nan}, "sample_threshold is nan"),
        ({"samples": -1}, "samples is -1"),
        ({"embedding": ""}, "embedding is empty"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(SegmentModelError, match=said):
        a_model(**changes)


def test_rows_are_found_by_id():
    ids = np.array([6, 2, NO_SEGMENT, 3, 99, 5])
    assert a_model().rows_of(ids).tolist() == [2, 0, -1, -1, -1, 1]


def test_a_label_is_found_by_id():
    assert a_model().label_of(5) == "qubit, gate"
    assert a_model().label_of(4) is None


def test_replacing_a_field_checks_the_model_again():
    with pytest.raises(SegmentModelError, match="next_id 3"):
        replace(a_model(), next_id=3)
