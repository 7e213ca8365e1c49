"""`rayograph verify`: whether a store's artifacts are whole."""

import argparse

from rayograph.cli.arguments import access_of, add_store, store_of
from rayograph.runs.terminal.console import put

HELP = "check every committed artifact below a URI: files, sizes, sha256, parents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the place, and how much is read."""
    add_store(parser)
    parser.add_argument("--deep", action="store_true", help="read every tar, and compare its index with it")


def run(options: argparse.Namespace) -> None:
    """Print a line an artifact that is whole; fail once all are looked at, where one is not."""
    from rayograph.commands.verification import verify

    for line in verify(store_of(options), access_of(options), options.deep):
        put(line)
