"""`rayograph ls`: what a store holds."""

import argparse

from rayograph.cli.arguments import access_of, add_store, store_of
from rayograph.runs.terminal.console import put

HELP = "list artifacts below a URI: committed or in progress, and their parents"

add_arguments = add_store


def run(options: argparse.Namespace) -> None:
    """Print a line an artifact."""
    from rayograph.commands.artifact_listing import list_artifacts

    for line in list_artifacts(store_of(options), access_of(options)):
        put(line)
