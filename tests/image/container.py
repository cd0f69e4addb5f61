"""Starts what is in a root as an engine starts a container."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.image.dockerfile import Stage

CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"


def started(
    stage: Stage,
    root: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    mounts: Mapping[str, Path] | None = None,
    network: bool = False,
) -> subprocess.Popen[str]:
    """Start what a container would be: its user, and a root that is read-only.

    The process is the command's own, so a signal to it goes where a container's would.

    Parameters
    ----------
    stage, root
        Of the image.
    arguments
        After the entrypoint.
    environment
        Beside the image's own.
    mounts
        Folders by where they are to be; /tmp is there without.
    network
        Whether it has this machine's; else it has none.
    """
    of_its_own = {**stage.environment, **(environment or {})}
    inside = [CHROOT, f"--userspec={stage.user}", str(root), "/usr/bin/env", "-i"]
    inside += [f"{key}={value}" for key, value in of_its_own.items()]
    lines = [
        f'mount --bind "{root}" "{root}"',
        *(f'mkdir -p "{root}{place}"' for place in mounts or ()),
        f'mount -o remount,ro,bind "{root}"',
        f'mount -t tmpfs -o mode=1777 tmpfs "{root}/tmp"',
        f'mount --bind /proc "{root}/proc"',
        f'mount --bind /dev "{root}/dev"',
        *(f'mount --bind "{folder}" "{root}{place}"' for place, folder in (mounts or {}).items()),
        'exec "$@"',
    ]
    apart = ["unshare", "--mount", *([] if network else ["--net"])]
    return subprocess.Popen(
        [*apart, "sh", "-c", " && ".join(lines), "sh", *inside, *stage.entrypoint, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
