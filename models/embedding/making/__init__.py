"""Making a model: from a checkpoint to a graph, quantised and checked."""
