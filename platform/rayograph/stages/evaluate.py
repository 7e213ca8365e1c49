"""The stage `evaluate`: images beside images, reconstructions beside their originals (stages/image_comparison.py)."""

from rayograph.config import Evaluate
from rayograph.errors import ConfigError
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.stages.resources import require_pool
from rayograph.stages.stage import CheckContext, Stage

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
        from rayograph.stages.image_comparison import run_evaluate

        return run_evaluate(context, declared)


def _image_size(declared: Evaluate, context: CheckContext) -> tuple[str, int | None]:
    """What decides the side at which images are looked at, and the side; None where only the data can tell."""
    if declared.image_size is not None:
        return f"{context.name}.image_size", declared.image_size
    seen = context.input("images" if declared.autoencoder is None else "autoencoder")
    return seen.decided_by, seen.image_size
