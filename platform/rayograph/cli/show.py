"""`rayograph show`: a job and where it would run, with every field."""

import argparse
import json

from rayograph.cli.arguments import add_job, job_of
from rayograph.config.reading import core_yaml
from rayograph.runs.terminal import console

HELP = "print the resolved job and scale profile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job, and the format."""
    add_job(parser)
    parser.add_argument("--json", action="store_true", help="as JSON instead of YAML")


def run(options: argparse.Namespace) -> None:
    """Print what parses back to the same job and profile."""
    from rayograph.pipeline.runner import stage_names

    job, scale, target = job_of(options)
    names = stage_names(job, target)
    described = job.model_dump(mode="json")
    described["stages"] = {name: described["stages"][name] for name in names}
    shown = {"job": described, "scale": scale.model_dump(mode="json")}
    if options.json:
        console.put_raw(json.dumps(shown, indent=2) + "\n")
    else:
        console.put_raw(core_yaml.dump(shown, console.put_is_unicode()))
