"""`rayograph import`: a model that others trained becomes an artifact."""

import argparse

from rayograph.cli.arguments import add_endpoint_url, add_scale, count, scale_of
from rayograph.runs.terminal.console import put

HELP = "make a folder that diffusers saved, or a published checkpoint, an artifact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder, the store, and what the artifact is to be."""
    parser.add_argument("uri", help="a folder that diffusers saved, or a published .ckpt beside its YAML")
    parser.add_argument("--store", metavar="URI", help="where the artifact goes, instead of the profile's store")
    parser.add_argument("--name", metavar="JOB", help="the job that it stands under; by default the folder's name")
    parser.add_argument(
        "--makes", choices=("autoencoder", "diffusion_model"), help="by default all that the folder has"
    )
    parser.add_argument("--image-size", metavar="PIXELS", type=count, help="by default its configuration's sample_size")
    add_endpoint_url(parser)
    add_scale(parser)


def run(options: argparse.Namespace) -> None:
    """Copy the files, and print where they are and what a job says of them."""
    from rayograph.commands.model_import import import_folder

    scale = scale_of(options, options.store)
    for line in import_folder(options.uri, scale, options.name, options.makes, options.image_size):
        put(line)
