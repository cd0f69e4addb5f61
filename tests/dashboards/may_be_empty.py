"""Queries that rightly have no data in a healthy run. All others must have some."""

_ALERTS = "a healthy run raises none"
_NAMESPACE = "only targets on Kubernetes have one"

MAY_BE_EMPTY = {
    "drift: annotation 'Drift alerts'": _ALERTS,
    "operations: annotation 'Alerts'": _ALERTS,
    "drift: variable namespace": _NAMESPACE,
    "internals: variable namespace": _NAMESPACE,
    "operations: variable namespace": _NAMESPACE,
}
"""By the query's place: why."""
