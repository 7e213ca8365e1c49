"""What may stand on the command line, and what is wrong with the rest."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from rayograph import __version__
from rayograph.runs import console

Command = Callable[[argparse.Namespace], None]


class _Parser(argparse.ArgumentParser):
    """Its complaints quote the arguments."""

    def error(self, message: str) -> NoReturn:
        super().error(console.escaped(message))


def parser_of(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Build the parser of the whole command line; `commands` are what it runs, by name."""
    parser = _Parser(prog="rayograph", description="Latent diffusion on a Ray cluster.")
    parser.add_argument("--version", action="version", version=f"rayograph {__version__}")
    words = parser.add_subparsers(required=True, metavar="COMMAND")

    run = words.add_parser("run", help="run a job, or one of its stages with what it needs")
    _add_job_options(run)
    run.set_defaults(command=commands["run"])

    show = words.add_parser("show", help="print the resolved job and scale profile")
    _add_job_options(show)
    show.add_argument("--json", action="store_true", help="as JSON instead of YAML")
    show.set_defaults(command=commands["show"])

    doctor = words.add_parser("doctor", help="what the trainings of a job need and cost, before anything starts")
    _add_job_options(doctor)
    doctor.add_argument("--tflops", metavar="N", type=_positive, help="peak of a worker's device, in TFLOP/s")
    doctor.add_argument(
        "--utilisation",
        metavar="SHARE",
        type=_positive,
        default=0.35,
        help="share of it that is reached; by default 0.35",
    )
    doctor.add_argument("--price", metavar="N", type=_positive, help="of a worker's hour, in any currency")
    doctor.set_defaults(command=commands["doctor"])

    export = words.add_parser("export", help="a model out of a training's checkpoints, under way or done")
    export.add_argument("uri", help="the training's artifact, as `rayograph ls` shows it below its store")
    export.add_argument("--to", metavar="URI", required=True, help="the folder that gets vae, unet and scheduler")
    export.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    export.add_argument("--at", metavar="IMAGES", type=_count, help="which checkpoint; by default the newest whole one")
    which = export.add_mutually_exclusive_group()
    which.add_argument("--average", metavar="KEY", help="such as ema-0.9999; 'weight' for none; by default the first")
    which.add_argument(
        "--length",
        metavar="SHARE",
        type=_positive,
        help="solve for the average of this length, as a share of the training, from ema_lengths and snapshots",
    )
    export.set_defaults(command=commands["export"])

    index = words.add_parser("index", help="make a folder of WebDataset tars an artifact, for stages to read")
    index.add_argument("uri", help="the folder; sidecars and a manifest are written into it, tars stay as they are")
    index.add_argument("--to", metavar="URI", help="write them there instead, where one may not write beside the tars")
    index.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    index.add_argument("--on", metavar="SCALE", help="a scale profile: its ray, ingest and s3 parts count")
    index.add_argument("--held-out", metavar="GLOB", help="shards of the held-out split, such as 'val-*.tar'")
    index.add_argument(
        "--bad-sample-limit", metavar="N", type=_count, default=0, help="rejected samples before it fails; by default 0"
    )
    index.add_argument("--again", action="store_true", help="make the manifest anew, and sidecars that are damaged")
    index.set_defaults(command=commands["index"])

    serve = words.add_parser("serve", help="batch generation over HTTP, with a gallery; until interrupted")
    serve.add_argument("--on", metavar="SCALE", help="a scale profile, such as cluster/laptop/scale.yaml")
    serve.add_argument("--store", metavar="URI", help="where models are and images go, instead of the profile's store")
    serve.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    serve.add_argument("--host", default="127.0.0.1", help="to listen on; any but loopback asks for a token")
    serve.add_argument("--port", type=_port, default=8000, help="to listen on; by default 8000")
    serve.add_argument("--token-file", metavar="FILE", help="a secret that clients show; or RAYOGRAPH_TOKEN")
    serve.add_argument(
        "--allow", metavar="URI", action="append", default=[], help="a place beside the store for models and requests"
    )
    serve.set_defaults(command=commands["serve"])

    for name, wish, what in (
        ("pause", "paused", "a generation under way hands out nothing more, until it is resumed"),
        ("resume", "running", "a paused or cancelled generation may go on"),
        ("cancel", "cancelled", "a generation ends; what is drawn stays, and the same job goes on once resumed"),
    ):
        steering = words.add_parser(name, help=what)
        steering.add_argument("uri", help="the generation's artifact, as `rayograph ls` shows it below its store")
        steering.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
        steering.set_defaults(command=commands["steer"], wish=wish)

    for name, what in (
        ("ls", "list artifacts below a URI: committed or in progress, and their parents"),
        ("verify", "check every committed artifact below a URI: files, sizes, sha256, parents"),
    ):
        listing = words.add_parser(name, help=what)
        listing.add_argument("uri", help="a store, or any folder in it")
        listing.add_argument("--endpoint-url", help="of an S3-compatible server")
        listing.add_argument("--on", metavar="SCALE", help="a scale profile: its s3 part counts")
        if name == "verify":
            listing.add_argument("--deep", action="store_true", help="read every tar, and compare its index with it")
        listing.set_defaults(command=commands[name])

    whence = words.add_parser("whence", help="which model, data, request and seed an image comes from")
    whence.add_argument("image", help="a file or a URI: PNG, JPEG or WebP")
    whence.add_argument("--store", metavar="URI", help="look its artifact up there, and all that it was made from")
    whence.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    whence.add_argument("--on", metavar="SCALE", help="a scale profile: its s3 part counts")
    whence.add_argument("--again", action="store_true", help="draw it again from the store, and compare the pixels")
    whence.add_argument("--to", metavar="FILE", help="where the image that was drawn again goes")
    whence.set_defaults(command=commands["whence"])
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", help="a job file, with :stage for one stage and what it needs")
    parser.add_argument("--on", metavar="SCALE", help="a scale profile, such as cluster/laptop/scale.yaml")
    parser.add_argument("--store", metavar="URI", help="where artifacts go, instead of the profile's store")
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    parser.add_argument(
        "--set", metavar="STAGE.FIELD=VALUE", action="append", default=[], help="change one field; may be repeated"
    )


def _positive(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def _count(text: str) -> int:
    with suppress(ValueError):
        if (value := int(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")


def _port(text: str) -> int:
    with suppress(ValueError):
        if 0 < (value := int(text)) < 1 << 16:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
