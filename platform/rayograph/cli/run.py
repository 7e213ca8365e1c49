"""`rayograph run`: a job, or one of its stages with what it needs."""

import argparse

from rayograph.cli.arguments import add_job, job_of
from rayograph.runs.terminal.console import put

HELP = "run a job, or one of its stages with what it needs"

add_arguments = add_job


def run(options: argparse.Namespace) -> None:
    """Run it; print where its last artifact is."""
    from rayograph.pipeline.runner import run_job

    put(run_job(*job_of(options)))
