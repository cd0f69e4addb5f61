"""Readers of events and labels, as the settings make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.intake import Intake
from schemas.mapping import EventMapping
from schemas.user_labels import LabelIntake


def an_intake(mapping: EventMapping | None = None, **changes: Any) -> Intake:
    usual = {
        "max_text_chars": 100_000,
        "earliest": datetime(1990, 1, 1, tzinfo=UTC),
        "max_future_skew": timedelta(hours=1),
        "key": "raw",
    }
    return Intake(mapping or EventMapping(), **{**usual, **changes})


def a_label_intake(
    max_future_skew: timedelta = timedelta(hours=1), key: Any = "raw"
) -> LabelIntake:
    return LabelIntake(max_future_skew, key)
