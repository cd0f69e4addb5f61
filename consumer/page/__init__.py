"""One page that tells of a group's segments: `segmenter report`.

Reading order: `gathered` (what is known, whether from `topics` or from a replay's `folder`),
`events` (what the events themselves add), `told` (what is computed of it for the page), `charts`,
then `render`.
"""
