"""A stage's figures on the driver: to Weights & Biases and to the progress line."""

from collections.abc import Mapping

from rayograph.runs.stage_context import StageContext
from rayograph.runs.terminal.progress import Progress
from rayograph.runs.tracking import Row, WandbRun


class Reporter:
    """One for each stage that does work. Use as a context: the run is closed whatever happens."""

    def __init__(
        self,
        stage: StageContext,
        unit: str,
        total: int,
        shown: Mapping[str, str] | None = None,
        *,
        at_once: int = 1,
        estimated: bool = True,
    ) -> None:
        """`shown` maps figures to their short names on the progress line; the rest is as Progress has it."""
        self.progress = Progress(stage.name, unit, total, at_once=at_once, estimated=estimated)
        self._shown = shown or {}
        self.wandb = WandbRun(
            stage.artifact,
            project=stage.scale.wandb_project or "rayograph",
            job=stage.job.name,
            stage=stage.name,
            config=stage.declared.model_dump(mode="json") | {"seed": stage.seed},
            say=self.progress.say,
        )

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()
        self.wandb.finish()

    def row(self, row: Row) -> None:
        """One row of figures at `row["images_seen"]`."""
        self.wandb.log(row)
        self.progress.advance_to(
            int(row["images_seen"]), {name: row[key] for key, name in self._shown.items() if key in row}
        )

    def resumed(self, images_seen: int) -> None:
        """A training goes on from there."""
        self.progress.begin_at(images_seen)
        if images_seen:
            self.progress.say(f"goes on from the checkpoint at {images_seen:,} images")
