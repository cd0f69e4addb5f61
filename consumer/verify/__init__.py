"""`segmenter verify`: the auditor that checks what must always hold.

`invariants` has the checks, over iterables. `folder` reads what a replay wrote, `topics` what the
workers wrote to Kafka. `report` is what comes out. `follow` audits a group at work, with the checks
of `incremental` and `watch`; `service` is the process around it. `intake` audits the stage before
the workers, where there is one.
"""

from consumer.verify.folder import verify_folder
from consumer.verify.follow import Follower
from consumer.verify.intake import verify_group
from consumer.verify.news import FollowReport
from consumer.verify.report import VerifyError, VerifyResult, Violation, ViolationKind
from consumer.verify.topics import verify_topics

__all__ = [
    "FollowReport",
    "Follower",
    "VerifyError",
    "VerifyResult",
    "Violation",
    "ViolationKind",
    "verify_folder",
    "verify_group",
    "verify_topics",
]
