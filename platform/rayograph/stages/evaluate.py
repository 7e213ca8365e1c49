"""The stage `evaluate`: images beside images, reconstructions beside their originals (ingest/images/image_sets.py)."""

import json
from typing import TYPE_CHECKING

from rayograph.config import Evaluate
from rayograph.errors import ConfigError
from rayograph.ingest.resources import require_pool
from rayograph.runs.artifact import REPORT
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.stages.stage import CheckContext, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rayograph.evaluation.report.page import AskedSample
    from rayograph.ingest.images.image_sets import ImageSet

FIGURES = "report.json"
SMALLEST_SSIM_SIDE = 11
"""The side of SSIM's window (Wang et al. 2004)."""


class EvaluateStage(Stage[Evaluate]):
    """Images and samples to a report."""

    def check(self, declared: Evaluate, context: CheckContext) -> None:
        """Raise ConfigError where nothing is held out to reconstruct, or the images' size suits no measure.

        Features that are said are made once, to see that they can be.
        """
        reconstructs = declared.autoencoder is not None
        if reconstructs and context.input("images").held_out is False:
            raise ConfigError(
                f"{declared.images}.held_out_fraction: expected more than 0, as {context.name} needs held-out images"
            )
        if declared.features is not None and context.resolved:
            from rayograph.evaluation.extractors import build_extractor

            build_extractor(declared.features, "cpu", context.scale.access)
        where, size = _image_size(declared, context)
        if size is None:
            return
        multiple = declared.extractor.side_multiple
        if size % multiple and declared.features is None:
            raise ConfigError(f"{context.name}.feature_size: expected a divisor of {where} {size}, got {multiple}")
        if size % multiple:
            raise ConfigError(
                f"{context.name}.features: expected images of a multiple of {multiple}, got {where} {size}"
            )
        if reconstructs and size < SMALLEST_SSIM_SIDE:
            raise ConfigError(f"{where}: expected at least {SMALLEST_SSIM_SIDE} for SSIM, got {size}")

    def check_cluster(self, declared: Evaluate, context: StageContext) -> None:
        """Room for the pool that looks at images."""
        require_pool(context)

    def run(self, declared: Evaluate, context: StageContext) -> StageResult:
        """Sum up, measure, draw the page."""
        return _evaluated(declared, context)


def _image_size(declared: Evaluate, context: CheckContext) -> tuple[str, int | None]:
    """What decides the side at which images are looked at, and the side; None where only the data can tell."""
    if declared.image_size is not None:
        return f"{context.name}.image_size", declared.image_size
    seen = context.input("images" if declared.autoencoder is None else "autoencoder")
    return seen.decided_by, seen.image_size


def _evaluated(declared: Evaluate, stage: StageContext) -> StageResult:
    """Sum up, measure, draw the page. Raises DataError once more is left out than `bad_sample_limit`."""
    from rayograph.evaluation.measures import measure
    from rayograph.evaluation.report.contents import pictures, report_of
    from rayograph.evaluation.report.page import circumstances, headlines, render, summary
    from rayograph.ingest.images.image_sets import image_sets, summaries
    from rayograph.runs.reporter import Reporter

    require_pool(stage)
    sets = image_sets(stage)
    with Reporter(
        stage, "images", sum(images.images for images in sets), at_once=stage.scale.encode.actors
    ) as recorder:
        if not any(images.name == "held_out" for images in sets):
            recorder.progress.say(
                "no held-out images: samples are compared with all, and there is nothing to compare that with"
            )
        found = summaries(stage, declared, sets, recorder)
        recorder.progress.doing("now", "draws a few step by step")
        steps = _steps(stage)
        recorder.progress.doing("now", "measures")
        measures = measure(found.get("train"), found.get("held_out"), found["samples"], declared.neighbours)
        report = report_of(stage, measures, found, steps, _asked(stage, sets))
        figures = summary(report)
        recorder.wandb.summarise({name: value for name, value in figures.items() if isinstance(value, float)})
        for name, picture in pictures(report, found["samples"]).items():
            recorder.wandb.log_image(name, picture)
        for line in headlines(figures):
            recorder.progress.say(line)
    rejected = [reason for part in found.values() for reason in part.rejected]
    text = json.dumps(figures, allow_nan=False, indent=2).encode()
    return StageResult(
        files=[stage.artifact.write(FIGURES, text), stage.artifact.write(REPORT, render(report).encode())],
        facts=figures | circumstances(report) | {"rejected": rejected},
    )


def _steps(stage: StageContext) -> "np.ndarray | None":
    """(s, n, h, w, 3): the first samples on their way, and done; None where no model is named that drew them."""
    import ray

    from rayograph.sampling.denoising import denoising_steps

    _, drawn = stage.input("samples")
    if "model" not in stage.inputs or drawn.kind != "sample":
        return None
    task = ray.remote(num_cpus=stage.scale.encode.cpus_per_actor, num_gpus=stage.scale.gpus)(denoising_steps)
    steps: np.ndarray = ray.get(task.remote(stage.inputs["model"], drawn, stage.scale.device))
    return steps


def _asked(stage: StageContext, sets: "Sequence[ImageSet]") -> "list[AskedSample]":
    """The first samples beside what they were asked for; none of images that no generation drew."""
    from rayograph.sampling.asked_samples import asked_samples
    from rayograph.sampling.requests.model_spec import ModelSpec

    _, drawn = stage.input("samples")
    if drawn.kind != "sample":
        return []
    conditioner = ModelSpec.of(*stage.input("model")).conditioner if "model" in stage.inputs else None
    shards = {images.name: images.read(stage.scale.access) for images in sets}
    return asked_samples(shards["samples"], conditioner, shards.get("held_out", shards.get("train")))
