"""`rayograph export`: a model out of a training's checkpoints."""

import argparse

from rayograph.cli.arguments import add_endpoint_url, count, positive
from rayograph.runs.terminal.console import put

HELP = "a model out of a training's checkpoints, or one that came in, as diffusers opens it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the training, the target, and which weights."""
    parser.add_argument(
        "uri", help="the training's artifact, as `rayograph ls` shows it below its store; or an imported model's"
    )
    parser.add_argument("--to", metavar="URI", required=True, help="the folder that gets vae, unet and scheduler")
    add_endpoint_url(parser)
    parser.add_argument("--at", metavar="IMAGES", type=count, help="which checkpoint; by default the newest whole one")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--average", metavar="KEY", help="such as ema-0.9999; 'weight' for none; by default the first")
    which.add_argument(
        "--length",
        metavar="SHARE",
        type=positive,
        help="solve for the average of this length, as a share of the training, from ema_lengths and snapshots",
    )


def run(options: argparse.Namespace) -> None:
    """Write the model's folders, and print what they were made of."""
    from rayograph.commands.model_export import Wanted, export

    wanted = Wanted(options.at, options.average, options.length)
    for line in export(options.uri, options.to, options.endpoint_url, wanted):
        put(line)
