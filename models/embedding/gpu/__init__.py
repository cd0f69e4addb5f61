"""Running a model on a GPU."""
