"""Segments learned from labels: classifiers over users' profiles.

Reading order: `scores` (from profiles to probabilities), `classifiers` (linear ones, as River has
them), `learner` (how the trainer learns and what it publishes), `model` (what a worker predicts
with), `decision` (when a published label changes). `confusion` holds the measures, `offline` the
peers that they are compared with.
"""
