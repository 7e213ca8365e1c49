"""`rayograph doctor`: what a job's trainings need and cost, before anything starts."""

import argparse

from rayograph.cli.arguments import add_job, job_of, positive
from rayograph.runs.terminal.console import put

HELP = "what the trainings of a job need and cost, before anything starts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job, and what a device gives and costs."""
    add_job(parser)
    parser.add_argument("--tflops", metavar="N", type=positive, help="peak of a worker's device, in TFLOP/s")
    parser.add_argument(
        "--utilisation",
        metavar="SHARE",
        type=positive,
        default=0.35,
        help="share of it that is reached; by default 0.35",
    )
    parser.add_argument("--price", metavar="N", type=positive, help="of a worker's hour, in any currency")


def run(options: argparse.Namespace) -> None:
    """Check all that a run would check, and print the costs."""
    from rayograph.commands.training_costs import examine
    from rayograph.pipeline.preflight import check, check_machine
    from rayograph.pipeline.runner import stage_names

    job, scale, target = job_of(options)
    names = stage_names(job, target)
    check(job, scale, names)
    lines = examine(job, scale, names, tflops=options.tflops, utilisation=options.utilisation, price=options.price)
    for line in lines:
        put(line)
    check_machine(scale)  # last, as a job is planned elsewhere than where it runs
