"""Write the JSON Schema of each topic beside the contracts: `python -m schemas.generate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from schemas.attribute_table import AttributeTable
from schemas.base import schema_id
from schemas.changes import SegmentChange
from schemas.dead_letters import DeadLetter
from schemas.drift import DriftReferenceRecord
from schemas.events import UserEvent
from schemas.label_model import LabelModelRecord
from schemas.lifecycle import LifecycleEvent
from schemas.model_control import ModelControlState
from schemas.model_versions import ModelVersionRecord
from schemas.profiles import ProfileRecord, ProfileSample
from schemas.recommendations import SegmentRecommendations, UserRecommendations
from schemas.rule_changes import RuleChange
from schemas.segment_model import SegmentModelRecord
from schemas.segments import SegmentState
from schemas.user_labels import UserLabel

FOLDER = Path(__file__).parent / "json"

CONTRACTS: dict[str, type[BaseModel]] = {
    "user-events": UserEvent,
    "segment-changes": SegmentChange,
    "user-profiles": ProfileRecord,
    "profile-samples": ProfileSample,
    "segment-models": SegmentModelRecord,
    "segment-model-versions": ModelVersionRecord,
    "segment-model-control": ModelControlState,
    "segment-lifecycle": LifecycleEvent,
    "segments": SegmentState,
    "segment-labels": UserLabel,
    "label-models": LabelModelRecord,
    "drift-reference": DriftReferenceRecord,
    "segment-recommendations": SegmentRecommendations,
    "segment-attributes": AttributeTable,
    "user-recommendations": UserRecommendations,
    "rule-changes": RuleChange,
    "dead-letter": DeadLetter,
}


def render(name: str) -> str:
    """Render the JSON Schema (2020-12) of a topic's contract as text."""
    contract = CONTRACTS[name]
    own = contract.model_fields.get("schema_version")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_id(name, own.default if own else 1),
    }
    schema |= contract.model_json_schema(mode="validation")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write all files and name them."""
    FOLDER.mkdir(exist_ok=True)
    for name in CONTRACTS:
        path = FOLDER / f"{name}.schema.json"
        path.write_text(render(name), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
