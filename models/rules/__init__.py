"""Segments by rule: what a rule may say, and who fulfils it."""
