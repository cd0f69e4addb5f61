"""`segmenter doctor`: whether a process could start here, and what to do where it could not."""
