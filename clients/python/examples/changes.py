"""Prints changes of users' segments, from where the group stopped."""

import sys

from segmenter_client import Changes

servers, group, topic = sys.argv[1:]
with Changes(servers, group, topic=topic) as changes:
    for change in changes:
        now = change.segment.label if change.segment else "none"
        print(
            change.user_id, change.sequence, change.status, now, change.cause, sep="\t", flush=True
        )
