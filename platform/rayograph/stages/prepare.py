"""What a generation is asked for, checked whole and fixed: before Ray starts, and before anything says it has begun."""

from rayograph.config import Sample
from rayograph.runs.stage_context import StageContext
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.plan import Plan
from rayograph.sampling.requests.planner import freeze


def plan_of(stage: StageContext, declared: Sample) -> Plan:
    """The committed plan, made now where there is none. Raises DataError for the first bad row of the request."""
    model, trained = stage.input("model")
    return freeze(stage.artifact, declared, stage.seed, ModelSpec.of(model, trained), stage.scale.access)
