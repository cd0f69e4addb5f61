"""How good segments are."""
