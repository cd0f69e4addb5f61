"""How good segments are on a file of events: `segmenter evaluate`.

Reading order: `observe` (what is noted while the file is replayed), `run` (what is computed of it),
`contents` (the figures), then `report` and `plots`.
"""
