"""What a benchmark ran on; printed above every table."""

from __future__ import annotations

import os
import platform
from importlib import metadata


def describe(*packages: str) -> str:
    """Return processor kind, cores, Python and the versions of some packages; no host name."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, Python "
        f"{platform.python_version()}, {versions}"
    )
