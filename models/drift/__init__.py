"""Drift: whether what users write today is what they wrote when the reference was set."""

from models.drift.check import (
    COMPONENTS,
    COSINE,
    EUCLIDEAN,
    MMD,
    PSI,
    TESTS,
    VECTOR_TESTS,
    DriftCheck,
    DriftReport,
    Outcome,
    Texts,
    churn,
)
from models.drift.detector import DETECTOR
from models.drift.policy import DriftError, DriftPolicy

__all__ = [
    "COMPONENTS",
    "COSINE",
    "DETECTOR",
    "EUCLIDEAN",
    "MMD",
    "PSI",
    "TESTS",
    "VECTOR_TESTS",
    "DriftCheck",
    "DriftError",
    "DriftPolicy",
    "DriftReport",
    "Outcome",
    "Texts",
    "churn",
]
