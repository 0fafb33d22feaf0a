"""Checkpoints that survive `kill -9`: safetensors and JSON in a folder that is swapped in whole.

Each process writes its own part of every tensor, cut along the first dimension. Any number of processes can read them:
each takes the part that is its own now.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from charter.errors import UserError
from charter.records import write_text
from charter.training.devices import Devices, bounds

_STATE = "state.json"


def save_checkpoint(
    folder: Path, tensors: dict[str, Tensor], step: int, fingerprint: str, devices: Devices = Devices()
) -> None:
    """Write `folder/step-N` and drop older ones. A crash at any point leaves the last whole checkpoint readable.

    tensors: this process's parts; those without dimensions are the same everywhere.
    """
    building = folder / f".building-{step:08}"
    if devices.first:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
    devices.barrier()
    own = building / _part(devices.rank, devices.world)
    save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, str(own))
    devices.barrier()
    if devices.first:
        state = {"step": step, "fingerprint": fingerprint, "parts": devices.world}
        write_text(building / _STATE, json.dumps(state))
        target = folder / f"step-{step:08}"
        if target.exists():
            shutil.rmtree(target)
        building.rename(target)
        for old in _checkpoints(folder)[:-1]:
            shutil.rmtree(old)
    devices.barrier()


def load_checkpoint(
    folder: Path, fingerprint: str, devices: Devices = Devices()
) -> tuple[int, dict[str, Tensor]] | None:
    """(optimiser steps done, this process's parts of the tensors) of the newest checkpoint, or None.

    Raises UserError when the checkpoint was made with other data or settings.
    """
    if devices.first:
        # What a killed process was still building is never read.
        for half in folder.glob(".building-*"):
            shutil.rmtree(half, ignore_errors=True)
    newest = devices.from_first(_checkpoints(folder)[-1:])
    if not newest:
        return None
    state = json.loads((newest[0] / _STATE).read_text())
    if state["fingerprint"] != fingerprint:
        raise UserError(
            f"{folder}: the checkpoint there was made with other data or settings. Continue with what made it, or "
            "choose another run folder, or remove that folder to start anew."
        )
    return int(state["step"]), _own_parts(newest[0], int(state["parts"]), devices)


def _own_parts(folder: Path, parts: int, devices: Devices) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        files: list[Any] = [
            stack.enter_context(safe_open(str(folder / _part(number, parts)), "pt")) for number in range(parts)
        ]
        for name in files[0].keys():  # noqa: SIM118 (a file is no mapping)
            slices = [file.get_slice(name) for file in files]
            shape = slices[0].get_shape()
            if not shape:
                tensors[name] = files[0].get_tensor(name)
                continue
            lengths = [part.get_shape()[0] for part in slices]
            start, stop = bounds(sum(lengths), devices.rank, devices.world)
            found, offset = [], 0
            for part, length in zip(slices, lengths, strict=True):
                low, high = max(start - offset, 0), min(stop - offset, length)
                if low < high:
                    found.append(part[low:high])
                offset += length
            tensors[name] = torch.cat(found) if found else torch.empty(0, *shape[1:])
    return tensors


def _part(number: int, parts: int) -> str:
    return f"optimizer-{number + 1}-of-{parts}.safetensors"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / _STATE).exists())
