"""`segmenter verify`: the audit of what must always hold.

In reading order. What must hold, and what comes out: `rules` (each rule, its name and sentence) and
`report`. The one engine that applies them: `engine`, with what it keeps of users (`ledger`), of
`dead_letters`, of embedding models (`embeddings`), of kinds of changes that it does not know
(`later`), and what it says of users in several partitions (`split`). What it is fed: `decode`.

Three ways into it. A replay's `folder`; `topics` read up to a `cut`; `whole` is what both have in
common, and `lifecycle` what they check of segments. And topics without an end: `follow`, which
watches the group besides (`watch` and `open_transactions`, by samples of its offsets) and
tells of it as `news`; `service` is the process around it.

Beside them: `lookups` asks the cluster, `intake` audits the stage before the workers, `oracle`
compares the topics with a replay.
"""

from consumer.verify.folder import check_ended, verify_folder
from consumer.verify.follow import Follower
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
    "check_ended",
    "verify_folder",
    "verify_topics",
]
