"""`rayograph index`: a folder of WebDataset tars becomes an artifact."""

import argparse

from rayograph.cli.arguments import add_endpoint_url, add_scale, count, scale_of
from rayograph.runs.terminal.console import put
from rayograph.storage import open_store

HELP = "make a folder of WebDataset tars an artifact, for stages to read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder, and what of it is kept and where."""
    parser.add_argument("uri", help="the folder; sidecars and a manifest are written into it, tars stay as they are")
    parser.add_argument("--to", metavar="URI", help="write them there instead, where one may not write beside the tars")
    add_endpoint_url(parser)
    add_scale(parser, "a scale profile: its ray, ingest and s3 parts count")
    parser.add_argument("--held-out", metavar="GLOB", help="shards of the held-out split, such as 'val-*.tar'")
    parser.add_argument(
        "--bad-sample-limit", metavar="N", type=count, default=0, help="rejected samples before it fails; by default 0"
    )
    parser.add_argument("--again", action="store_true", help="make the manifest anew, and sidecars that are damaged")


def run(options: argparse.Namespace) -> None:
    """Index it, and print a summary."""
    from rayograph.commands.index_shards import index_folder, summary

    scale = scale_of(options)
    manifest = index_folder(
        options.uri,
        scale,
        held_out=options.held_out,
        bad_sample_limit=options.bad_sample_limit,
        again=options.again,
        to=options.to,
    )
    for line in summary(open_store(options.to or options.uri, scale.access).uri, manifest):
        put(line)
