"""`rayograph trace`: where an image comes from."""

import argparse

from rayograph.cli.arguments import access_of, add_endpoint_url, add_scale
from rayograph.runs.terminal.console import put_labelled

HELP = "which model, data, request and seed an image comes from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the image, where to look its makers up, and whether to draw it anew."""
    parser.add_argument("image", help="a file or a URI: PNG, JPEG or WebP")
    parser.add_argument("--store", metavar="URI", help="look its artifact up there, and all that it was made from")
    add_endpoint_url(parser)
    add_scale(parser)
    parser.add_argument("--again", action="store_true", help="draw it again from the store, and compare the pixels")
    parser.add_argument("--to", metavar="FILE", help="where the image that was drawn again goes")


def run(options: argparse.Namespace) -> None:
    """Print what is known of it, a line each."""
    from rayograph.commands.provenance import TraceOptions, trace

    for line in trace(options.image, access_of(options), TraceOptions(options.store, options.again, options.to)):
        put_labelled(line)
