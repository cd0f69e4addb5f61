"""The stage of `segmenter rules run`: segments that somebody has put into words."""
