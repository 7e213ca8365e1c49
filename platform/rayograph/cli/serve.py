"""`rayograph serve`: batch generation over HTTP."""

import argparse

from rayograph.cli.arguments import add_endpoint_url, add_scale, port, scale_of

HELP = "batch generation over HTTP, with a gallery; until interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the store, the address, and who may ask for what."""
    add_scale(parser, "a scale profile, such as cluster/laptop/scale.yaml")
    parser.add_argument("--store", metavar="URI", help="where models are and images go, instead of the profile's store")
    add_endpoint_url(parser)
    parser.add_argument("--host", default="127.0.0.1", help="to listen on; any but loopback asks for a token")
    parser.add_argument("--port", type=port, default=8000, help="to listen on; by default 8000")
    parser.add_argument("--token-file", metavar="FILE", help="a secret that clients show; or RAYOGRAPH_TOKEN")
    parser.add_argument(
        "--allow", metavar="URI", action="append", default=[], help="a place beside the store for models and requests"
    )


def run(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    from rayograph.commands.http_server import serve_http

    scale = scale_of(options, options.store)
    serve_http(scale, options.host, options.port, options.token_file, options.allow)
