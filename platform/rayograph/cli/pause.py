"""`rayograph pause`: a generation hands out nothing more for now."""

import argparse

from rayograph.cli.arguments import add_generation
from rayograph.runs.terminal.console import put

HELP = "a generation under way hands out nothing more, until it is resumed"

add_arguments = add_generation


def run(options: argparse.Namespace) -> None:
    """Leave the wish, and print how far the generation is."""
    from rayograph.commands.job_control import control_job

    put(control_job(options.uri, options.endpoint_url, "paused"))
