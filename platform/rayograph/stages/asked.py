"""What a generation is asked for, checked whole and fixed: before Ray starts, and before anything says it has begun."""

from rayograph.config import Sample
from rayograph.sampling.freeze import freeze
from rayograph.sampling.plan import Plan
from rayograph.sampling.traits import ModelTraits
from rayograph.stages.resolve import ResolvedStage


def plan_of(stage: ResolvedStage, declared: Sample) -> Plan:
    """The committed plan, made now where there is none. Raises DataError for the first bad row of the request."""
    model, trained = stage.input("model")
    return freeze(stage.artifact, declared, stage.seed, ModelTraits.of(model, trained), stage.scale.access)
