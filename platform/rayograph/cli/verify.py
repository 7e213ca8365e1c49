"""`rayograph verify`: whether a store's artifacts are whole."""

import argparse

from rayograph.cli.arguments import access_of, add_store, store_of
from rayograph.runs.console import put

HELP = "check every committed artifact below a URI: files, sizes, sha256"

add_arguments = add_store


def run(options: argparse.Namespace) -> None:
    """Print a line an artifact that is whole; fail once all are looked at, where one is not."""
    from rayograph.commands.listing import verify

    for line in verify(store_of(options), access_of(options)):
        put(line)
