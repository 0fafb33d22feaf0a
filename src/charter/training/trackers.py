"""Experiment trackers, each through its own client: Weights & Biases, MLflow, Trackio.

Where a run goes (server, project folder, offline or not) is what the client's own settings and environment say. A run
folder remembers its tracker's run in tracker.json, so that a resumed training goes on in the same one.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

from charter.errors import UserError
from charter.models.extras import require
from charter.records import write_text

Track = Literal["wandb", "mlflow", "trackio"]
TRACKERS: Final[tuple[str, ...]] = get_args(Track)
_PROJECT = "charter"
_FILE = "tracker.json"


class Tracker(Protocol):
    """One run at a tracker."""

    id: str
    """By which the same client finds the run again."""
    sent: int | None
    """The last step that a run found again has, where the client knows; None where metrics.jsonl has to say."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record one optimiser step."""
        ...

    def close(self) -> None:
        """Send what is left and end the run."""
        ...


def client(name: Track) -> Any:
    """The tracker's imported client. Raises UserError naming the command that installs it when it is missing."""
    return require(name, f"`track: {name}`")


def open_tracker(name: Track, folder: Path, fingerprint: str, config: Mapping[str, Any]) -> tuple[Tracker, bool]:
    """(the run's tracker, whether it goes on with what this folder's run sent before).

    fingerprint: of data and settings; another one begins another run.  config: shown beside the run.
    Raises UserError when the client is missing or does not start.
    """
    library = client(name)
    file = folder / _FILE
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if (known.get("track"), known.get("fingerprint")) == (name, fingerprint):
            return _started(name, library, folder, str(known["id"]), config), True
    tracker = _started(name, library, folder, None, config)
    write_text(file, json.dumps({"track": name, "id": tracker.id, "fingerprint": fingerprint}, indent=1))
    return tracker, False


def _started(name: Track, library: Any, folder: Path, known: str | None, config: Mapping[str, Any]) -> Tracker:
    make: Callable[[Any, Path, str | None, Mapping[str, Any]], Tracker] = _KINDS[name]
    try:
        # Standard output is for results; some clients greet on it.
        with contextlib.redirect_stdout(sys.stderr):
            return make(library, folder, known, config)
    except Exception as error:
        # Each client has errors of its own, for no network, no login or no server.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"`track: {name}` could not start: {reason} Check the client's own settings (login, server address, "
            "offline mode), or leave the option out; metrics.jsonl and TensorBoard are always written."
        ) from error


class _Wandb:
    def __init__(self, wandb: Any, folder: Path, known: str | None, config: Mapping[str, Any]) -> None:
        self.id = known or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=_PROJECT,
            id=self.id,
            name=_title(folder),
            resume="allow",
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off"),
        )
        # Offline every start writes a folder of its own, and a killed one's holds next to nothing: each gets all steps.
        self.sent: int | None = 0 if self._run.offline else max(int(self._run.starting_step) - 1, 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, mlflow: Any, folder: Path, known: str | None, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, Param

        self.sent: int | None = None
        self._metric = Metric
        self._client = mlflow.MlflowClient()
        if known is not None:
            self.id = known
            self._client.update_run(known, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(_PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(_PROJECT)
        self.id = str(self._client.create_run(number, run_name=_title(folder)).info.run_id)
        self._client.log_batch(self.id, params=[Param(name, str(value)[:500]) for name, value in config.items()])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.id, metrics=[self._metric(name, value, now, step) for name, value in values.items()]
        )

    def close(self) -> None:
        self._client.set_terminated(self.id)


class _Trackio:
    def __init__(self, trackio: Any, folder: Path, known: str | None, config: Mapping[str, Any]) -> None:
        self.sent: int | None = None
        self._finish = trackio.finish
        # Its runs are found again by name.
        self.id = known or f"{re.sub('[^A-Za-z0-9._-]+', '-', _title(folder))}-{uuid.uuid4().hex[:8]}"
        self._run = trackio.init(project=_PROJECT, name=self.id, resume="allow", config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        # Not the run's own `finish`: after it the client would end the run once more when the process exits.
        self._finish()


_KINDS: Final[Mapping[str, Callable[[Any, Path, str | None, Mapping[str, Any]], Tracker]]] = {
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}


def _title(folder: Path) -> str:
    """What people see: the run folder's name, and a recipe's before its stage."""
    whole = folder.resolve()
    return f"{whole.parent.parent.name} {whole.name}" if whole.parent.name == "stages" else whole.name
