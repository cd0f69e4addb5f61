"""Which embedding model the records of a group were made with."""

from __future__ import annotations

from collections import Counter, defaultdict

from consumer.verify.report import ViolationKind, Violations
from schemas.changes import SegmentChange


class EmbeddingTally:
    """Counts under which embedding model records were made.

    State is of one: all profiles and the latest segment model, unless that brings a running group
    from another one, which takes a while. Changes are history, and a group may
    have been migrated since; but each version of the segment model is of one embedding model, and
    so are the changes that it decided.
    """

    def __init__(self) -> None:
        self._total: Counter[str] = Counter()
        # By version of the segment model, None for the state. Identity: how many, the first.
        self._seen: defaultdict[int | None, dict[str, tuple[int, str, str]]] = defaultdict(dict)
        # Those of `_seen` that are of several, and what was told of them.
        self._mixed: dict[int | None, None] = {}
        self._told: set[tuple[str, str]] = set()
        # By embedding model, numbers in a vector: how many profiles, the first user.
        self._vectors: defaultdict[str, dict[int, tuple[int, str]]] = defaultdict(dict)
        self._centres: dict[str, int] = {}
        # The embedding model that the latest segment model brings the group from, and its own.
        self._from_to: tuple[str, str] | None = None

    def add_profile(self, identity: str, user: str) -> None:
        """Count a user's profile."""
        self._add(None, identity, user, "profile")

    def add_change(self, change: SegmentChange) -> None:
        """Count a change under the version that decided it."""
        model = change.model
        self._add(model.version, model.embedding, change.user_id, "change")

    def add_vector(self, identity: str, numbers: int, user: str) -> None:
        """Count how many numbers the vector of a user's profile has."""
        count, first = self._vectors[identity].get(numbers, (0, user))
        self._vectors[identity][numbers] = (count + 1, first)

    def add_centres(self, identity: str, numbers: int) -> None:
        """Note how many numbers the centres of the latest segment model have."""
        self._centres[identity] = numbers

    def add_model(self, identity: str, version: int, subject: str) -> None:
        """Count the latest segment model; `subject` is where it was found."""
        self._add(None, identity, subject, "segment model")
        self._add(version, identity, subject, "segment model")

    def add_migration(self, former: str, identity: str) -> None:
        """Note that the latest segment model brings a running group to another embedding model."""
        self._from_to = former, identity

    @property
    def to_be_taken_over(self) -> int:
        """Users whose profiles still are of the model that a running group is leaving."""
        if self._from_to is None:
            return 0
        return self._seen[None].get(self._from_to[0], (0, "", ""))[0]

    def _add(self, version: int | None, identity: str, subject: str, kind: str) -> None:
        self._total[identity] += 1
        count, subject, kind = self._seen[version].get(identity, (0, subject, kind))
        self._seen[version][identity] = (count + 1, subject, kind)
        if len(self._seen[version]) > 1:
            self._mixed[version] = None

    def report(self, violations: Violations) -> None:
        """Report every identity but the commonest, once for each first record."""
        for version in self._mixed:
            seen = self._seen[version]
            if version is None and self._from_to is not None and {*seen} == {*self._from_to}:
                continue  # partitions go over one by one, and users piece by piece
            ranked = sorted(seen.items(), key=lambda item: (-item[1][0], -self._total[item[0]]))
            for identity, (count, subject, kind) in ranked[1:]:
                common, (most, _, _) = ranked[0]
                if (subject, kind) in self._told:
                    continue
                self._told.add((subject, kind))
                violations.add(
                    ViolationKind.MIXED_EMBEDDING,
                    subject,
                    f"{count:,} records, the first a {kind}, were made with embedding model "
                    f"{identity[:12]}, {most:,} others with {common[:12]}",
                )

    def report_vectors(self, violations: Violations) -> None:
        """Report vectors of another length than the centres', or than most where there are none."""
        for identity, seen in self._vectors.items():
            common = max(seen, key=lambda numbers: seen[numbers][0])
            right = self._centres.get(identity, common)
            whose = "the segment model's centres" if identity in self._centres else "most others"
            for numbers, (count, user) in seen.items():
                if numbers != right:
                    violations.add(
                        ViolationKind.MALFORMED,
                        user,
                        f"{count:,} profiles, this one first, have vectors of {numbers:,} numbers, "
                        f"{whose} {right:,}",
                    )
