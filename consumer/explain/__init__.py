"""Why a user is in a segment: `segmenter explain`."""
