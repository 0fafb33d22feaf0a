"""Checkpoints that survive `kill -9`: safetensors and JSON in a folder that is swapped in whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from charter.errors import UserError
from charter.records import write_text

_STATE = "state.json"
_TENSORS = "optimizer.safetensors"


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], step: int, fingerprint: str) -> None:
    """Write `folder/step-N` and drop older ones. A crash at any point leaves the last whole checkpoint readable."""
    folder.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    try:
        save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, str(building / _TENSORS))
        write_text(building / _STATE, json.dumps({"step": step, "fingerprint": fingerprint}))
        target = folder / f"step-{step:08}"
        if target.exists():
            shutil.rmtree(target)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for old in _checkpoints(folder)[:-1]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, fingerprint: str) -> tuple[int, dict[str, Tensor]] | None:
    """(optimiser steps done, tensors) of the newest checkpoint, or None.

    Raises UserError when the checkpoint was made with other data or settings.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    state = json.loads((found[-1] / _STATE).read_text())
    if state["fingerprint"] != fingerprint:
        raise UserError(
            f"{folder}: the checkpoint there was made with other data or settings. Continue with what made it, or "
            "choose another run folder, or remove that folder to start anew."
        )
    return int(state["step"]), load_file(str(found[-1] / _TENSORS))


def _checkpoints(folder: Path) -> list[Path]:
    # What a killed process was still building is never read, and goes with the next look.
    for half in folder.glob(".building-*"):
        shutil.rmtree(half, ignore_errors=True)
    return sorted(path for path in folder.glob("step-*") if (path / _STATE).exists())
