"""The record of a stage's figures: metrics.jsonl in the artifact always, Weights & Biases beside it.

Each row belongs to a number of images seen. A restart from a checkpoint drops the rows after it, so that the record
reads as if nothing had happened.
"""

import json
import netrc
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rayograph.runs.artifact import METRICS, Artifact

WRITE_EVERY_SECONDS = 20.0

Row = dict[str, Any]


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


def wandb_mode(environment: Mapping[str, str] = os.environ) -> Literal["online", "offline", "disabled"]:
    """WANDB_MODE where set; otherwise online for someone logged in, and offline for anyone else."""
    asked = environment.get("WANDB_MODE", "").lower()
    if asked in ("online", "run", "shared"):
        return "online"
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked in ("disabled",):
        return "disabled"
    return "online" if environment.get("WANDB_API_KEY") or _in_netrc(environment) else "offline"


def _in_netrc(environment: Mapping[str, str]) -> bool:
    path = Path(environment.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


class WandbRun:
    """One Weights & Biases run for one stage, under an id that a resumed stage finds again."""

    def __init__(self, artifact: Artifact, *, project: str, job: str, stage: str, config: Mapping[str, Any]) -> None:
        self._run: Any = None
        mode = wandb_mode()
        if mode == "disabled":
            return
        import wandb

        folder = Path(os.environ.get("WANDB_DIR") or Path.home() / ".cache" / "rayograph")
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            group=job,
            job_type=stage,
            name=f"{job}/{stage}",
            id=f"{job}-{stage}-{artifact.path.rpartition('/')[2]}",
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric="images_seen")

    def log(self, row: Row) -> None:
        if self._run is not None:
            self._run.log(row)

    def log_image(self, name: str, png: bytes, images_seen: int = 0) -> None:
        """A PNG picture under a name of its own."""
        if self._run is not None:
            import io

            import wandb
            from PIL import Image

            self._run.log({name: wandb.Image(Image.open(io.BytesIO(png))), "images_seen": images_seen})

    def summarise(self, figures: Mapping[str, Any]) -> None:
        if self._run is not None:
            self._run.summary.update(dict(figures))

    def finish(self) -> None:
        if self._run is not None:
            self._run.finish()
