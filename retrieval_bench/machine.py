"""What this machine gives to this process."""

from __future__ import annotations

import os
import sys


def cores() -> int:
    """Cores that this process may use; all of them where the system does not say."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
