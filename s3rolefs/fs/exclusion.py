"""Say which files are locks by their names: who makes one needs to know at open whether it was the first."""

from __future__ import annotations

import re

# lock, lockfile, git's index.lock, .~lock.letter.odt#, mail.lck, vim's .notes.swp; not clock.c, nor blocks.
_LOCK = re.compile(
    r"(?:^|[^a-z])(?:lock|lck|lockfile)(?:[^a-z]|$) | ^\..*\.sw[a-p]$",
    re.IGNORECASE | re.VERBOSE,
)


def is_lock(name: str) -> bool:
    """Tell whether the last component of a key is one that programs give to locks."""
    return _LOCK.search(name) is not None
