"""The record of a stage's figures: metrics.jsonl in the artifact always, Weights & Biases beside it.

Each row belongs to a number of images seen. A restart from a checkpoint drops the rows after it, so that the record
reads as if nothing had happened.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

from rayograph.runs.artifact import METRICS, Artifact
from rayograph.runs.wandb_access import Mode, wandb_folder, wandb_mode

WRITE_EVERY_SECONDS = 20.0
START_SECONDS, END_SECONDS = 30.0, 60.0
"""What Weights & Biases has to begin a run, and to send the rest of it."""

if TYPE_CHECKING:
    from wandb import Run

Row = dict[str, float]
"""Figures by name, and `images_seen`, which they belong to."""


class _Options(TypedDict):
    """What a run is called, and what made it."""

    project: str
    group: str
    job_type: str
    name: str
    id: str
    config: dict[str, object]


class MetricsLog:
    """The rows of metrics.jsonl, kept here and put whole every few seconds: a store has no appending."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._written = time.monotonic()
        self.rows = read_metrics(artifact)

    def append(self, row: Row) -> None:
        self.rows.append(row)
        if time.monotonic() - self._written >= WRITE_EVERY_SECONDS:
            self.flush()

    def rewind(self, images_seen: int) -> None:
        """Forgets rows beyond a position that the training went back to."""
        self.rows = [row for row in self.rows if row["images_seen"] <= images_seen]

    def flush(self) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        self._artifact.write(METRICS, lines.encode())
        self._written = time.monotonic()


def read_metrics(artifact: Artifact) -> list[Row]:
    """The rows written so far, oldest first."""
    if METRICS not in artifact.names(METRICS):
        return []
    return [json.loads(line) for line in artifact.read(METRICS).splitlines()]


class WandbRun:
    """One Weights & Biases run for one stage, under an id that a resumed stage finds again.

    Nothing of it ends a stage: what cannot be tracked is said once, by `say`, and left.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        project: str,
        job: str,
        stage: str,
        config: Mapping[str, object],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._run: Run | None = None
        self._say = say
        options: _Options = {
            "project": project,
            "group": job,
            "job_type": stage,
            "name": f"{job}/{stage}",
            "id": f"{job}-{stage}-{artifact.path.rpartition('/')[2]}",
            "config": dict(config),
        }
        mode = wandb_mode()
        if mode == "online" and not self._open(options, mode, "offline"):
            mode = "offline"
        if mode == "offline" and self._run is None:
            self._open(options, mode, "disabled")

    def _open(self, options: _Options, mode: Mode, otherwise: Mode) -> bool:
        """Begins the run, or makes `otherwise` the mode of this command's stages."""
        try:
            import wandb

            folder = wandb_folder()
            folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                **options,
                resume="allow" if mode == "online" else None,
                mode=mode,
                dir=str(folder),
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    x_disable_stats=True,
                    init_timeout=START_SECONDS,
                    finish_timeout=END_SECONDS,
                ),
            )
            run.define_metric("*", step_metric="images_seen")
            self._run = run
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the work goes on
            self._run = None
            os.environ["WANDB_MODE"] = otherwise
            instead = "nothing is tracked" if otherwise == "disabled" else otherwise
            self._say(f"warning: W&B: {_first_line(error)}: {instead}")
            return False
        return True

    def log(self, row: Row) -> None:
        self._told(lambda run: run.log(row))

    def log_image(self, name: str, png: bytes, images_seen: int = 0) -> None:
        """A PNG picture under a name of its own."""

        def log(run: "Run") -> None:
            import io

            import wandb
            from PIL import Image

            run.log({name: wandb.Image(Image.open(io.BytesIO(png))), "images_seen": images_seen})

        self._told(log)

    def summarise(self, figures: Mapping[str, object]) -> None:
        self._told(lambda run: run.summary.update(dict(figures)))

    def finish(self) -> None:
        self._told(lambda run: run.finish())

    def _told(self, what: "Callable[[Run], object]") -> None:
        if self._run is None:
            return
        try:
            what(self._run)
        except Exception as error:  # noqa: BLE001 - as above
            self._run = None
            self._say(f"warning: W&B: {_first_line(error)}: this stage's figures go there no more")


def _first_line(error: Exception) -> str:
    said = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
