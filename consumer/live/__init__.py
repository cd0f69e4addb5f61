"""`segmenter changes` and `segmenter watch`: a group at work, read from its topics as it goes."""
