"""Queries that rightly have no data in a healthy run. All others must have some."""

MAY_BE_EMPTY = {
    "annotation 'Drift alerts'": "a healthy run raises none",
    "variable namespace": "only targets on Kubernetes have one",
}
"""By the query's place: why."""
