"""The stage `sample`: images that a diffusion model draws (generation/drawing.py), as many as are asked for."""

from rayograph.config import Sample
from rayograph.errors import ConfigError
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.stages.stage import CheckContext, Foreseen, Stage


class SampleStage(Stage[Sample]):
    """Diffusion model to images, as shards."""

    def check(self, declared: Sample, context: CheckContext) -> None:
        """Look at a request's first rows before a model is trained for it; at all of them, when its turn comes."""
        files = context.scale.sampling.certificate_file, context.scale.sampling.private_key_file
        if declared.marking.credentials and None in files:
            raise ConfigError(
                f"{context.name}.marking.credentials: expected sampling.certificate_file and "
                "sampling.private_key_file in the scale profile, got none"
            )
        model = context.input("model").model
        if model is not None:
            from rayograph.sampling.requests.planner import validate_request

            validate_request(declared, context.name, model, context.scale.access)

    def foresee(self, declared: Sample, context: CheckContext) -> Foreseen:
        """Return classes, and no more: rows may ask for any size."""
        return Foreseen(class_names=context.input("model").class_names, held_out=False, decided_by=context.name)

    def check_cluster(self, declared: Sample, context: StageContext) -> None:
        """Require room for the fewest replicas."""
        from rayograph.ingest.resources import require

        scale = context.scale
        sampling, units = scale.sampling, -(-(declared.num_samples or 1) // declared.unit_size)
        fewest = max(1, min(sampling.replicas[0], units))
        gpus = scale.gpus if sampling.gpus_per_replica is None else sampling.gpus_per_replica
        require(scale, context.name, cpus=fewest * sampling.cpus_per_replica, gpus=fewest * gpus)

    def prepare(self, declared: Sample, context: StageContext) -> None:
        """Check the request whole, and fix its plan. Raises DataError for the first bad row."""
        from rayograph.sampling.requests.planner import planned_request

        planned_request(context, declared)

    def run(self, declared: Sample, context: StageContext) -> StageResult:
        """Draw what is not drawn yet."""
        from rayograph.generation.drawing import run_sample

        return run_sample(context, declared)
