"""How many users a score needs."""

LEAST_SCORED_USERS = 20
"""Users without whom no score is given: over fewer it is an accident of a few of them."""
