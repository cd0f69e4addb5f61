"""What a recommender would publish of a replay: the same stage, with one partition and no broker.

It gives what it knows once, when the stream ends: so nothing is published in between, as it would
be at each interval, and memory grows with the items until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.recommending.stage import RecommenderStage

_AT_ONCE = 1_000
_HERE = frozenset({0})


@dataclass(slots=True)
class ReplayedRecommender:
    """Takes what a replay's workers write for the recommender.

    Parameters
    ----------
    settings
        As for the recommender.
    """

    settings: Settings
    _stage: RecommenderStage = field(init=False)
    _waiting: list[Record] = field(init=False, default_factory=list)
    _offsets: dict[str, int] = field(init=False, default_factory=dict)
    _published: dict[bytes, bytes] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._stage = RecommenderStage(self.settings, 1)
        self._stage.assigned(0, self._stage.restoration(0))

    def __call__(self, output: Output) -> None:
        """Take an output of the replay; what is none of a recommender's is passed over."""
        if output.topic in self._stage.inputs:
            offset = self._offsets.get(output.topic, 0)
            self._offsets[output.topic] = offset + 1
            self._waiting.append(
                Record(output.topic, 0, offset, -1, output.key, output.value, output.headers)
            )
            if len(self._waiting) >= _AT_ONCE:
                self._count()

    def finish(self) -> dict[bytes, bytes]:
        """Do all there is to do; give what the topic would hold, by key."""
        self._count()
        while (outputs := self._stage.maintain(idle=True)) is not None:
            self._stage.committed()
            self._take(outputs)
            self._count()
        return dict(sorted(self._published.items()))

    def _count(self) -> None:
        records, self._waiting = self._waiting, []
        if records:
            outputs = self._stage.apply(self._stage.prepare(records), _HERE)
            self._stage.committed()
            self._take(outputs)

    def _take(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic == self.settings.topics.segment_recommendations:
                self._published.pop(output.key or b"", None)
                if output.value is not None:
                    self._published[output.key or b""] = output.value
            else:
                self(output)
