"""What everything but the embedding model costs: the worker with a table for a model.

python -m benchmarks.pipeline --help
"""
