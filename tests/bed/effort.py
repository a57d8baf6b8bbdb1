"""Say how often a random test tries: S3ROLEFS_EFFORT times what `make test` does; `make soak` sets it."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("S3ROLEFS_EFFORT", "1"))
