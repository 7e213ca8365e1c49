"""evaluate: samples and reconstructions beside held-out images (stages/evaluation.py)."""

from rayograph.stages.evaluation import run_evaluate

__all__ = ["run_evaluate"]
