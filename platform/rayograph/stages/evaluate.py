"""The stage `evaluate`: samples and reconstructions beside held-out images (stages/evaluation.py)."""

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
        """Raise ConfigError where nothing is held out, or the images' size suits no measure."""
        if context.input("images").held_out is False:
            raise ConfigError(
                f"{declared.images}.held_out_fraction: expected more than 0, as {context.name} needs held-out images"
            )
        seen = context.input("autoencoder")
        size, where = seen.image_size, seen.decided_by
        if size is None:
            return
        if declared.features is None and size % declared.feature_size:
            raise ConfigError(
                f"{context.name}.feature_size: expected a divisor of {where} {size}, got {declared.feature_size}"
            )
        if size < SMALLEST_SSIM_SIDE:
            raise ConfigError(f"{where}: expected at least {SMALLEST_SSIM_SIDE} for SSIM, got {size}")

    def check_cluster(self, declared: Evaluate, context: StageContext) -> None:
        """Room for the pool that reconstructs images."""
        require_pool(context)

    def run(self, declared: Evaluate, context: StageContext) -> StageResult:
        """Gather, measure, draw the page."""
        from rayograph.stages.evaluation import run_evaluate

        return run_evaluate(context, declared)
