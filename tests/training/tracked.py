"""Runs of test_trackers.py, each in a process of its own: a training whose metrics go to a tracker."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from tiny import groups_of, tiny_model, with_lora

from charter.training.layout import Row
from charter.training.loop import train
from charter.training.methods.likelihood import SftObjective
from charter.training.objective import Tally
from charter.training.settings import TrainSettings

STEPS, SAVED, KILLED = 9, 3, 5
"""Killed in the step after KILLED: the checkpoint is of SAVED, so the steps between are made twice."""


class Killed(SftObjective):
    """A loss during which the process is killed, in step KILLED + 1."""

    def loss(self, logp_N: torch.Tensor, row: Row, tally: Tally) -> torch.Tensor:
        """The loss; from step KILLED on, the end."""
        global seen
        seen += 1
        if seen > KILLED:
            time.sleep(2)  # clients send from threads of their own: what they hold is not what is tested here
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(logp_N, row, tally)


seen = 0


def main(track: str, folder: Path, killed: bool) -> None:
    """Train into `folder`; resumes what a killed run left."""
    groups = groups_of((5, 4), (6, 3), (4, 6))
    settings = TrainSettings(epochs=STEPS, batch_size=3, save_every=SAVED, track=track or None)
    kind = Killed if killed else SftObjective
    train(with_lora(tiny_model()), kind({g.key: 1.0 for g in groups}), groups, settings, folder, title="test")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "killed")
