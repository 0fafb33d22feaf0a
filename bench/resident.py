"""This process's resident memory, now and at its peak since it was last forgotten. Both sides' workers use it."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import Any

GB = 2**30


def resting(model: Any) -> int:
    """Bytes resident with the model loaded and nothing run; the peak is counted from here on.

    Weights that still lie in a mapped file are touched first, so that loading them late is not taken for work.
    """
    for weight in model.parameters():
        weight.detach().flatten()[:: max(1, 2048 // weight.element_size())].float().sum()
    with contextlib.suppress(OSError):  # not on Linux: there the peak is the whole process's, loading included
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") or peak()


def peak() -> int:
    """Most bytes that were resident at once."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 2**10 for line in lines if line.startswith(f"{field}:")), 0)
