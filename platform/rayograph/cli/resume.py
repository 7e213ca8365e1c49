"""`rayograph resume`: a paused or cancelled generation goes on."""

import argparse

from rayograph.cli.arguments import add_generation
from rayograph.runs.terminal.console import put

HELP = "a paused or cancelled generation may go on"

add_arguments = add_generation


def run(options: argparse.Namespace) -> None:
    """Leave the wish, and print how far the generation is."""
    from rayograph.commands.job_control import control_job

    put(control_job(options.uri, options.endpoint_url, "running"))
