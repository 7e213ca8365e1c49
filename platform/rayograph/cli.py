"""The command line: run, show, doctor, export, pause, resume, cancel, index, serve, ls, verify, whence."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rayograph import __version__
from rayograph.config import Job, Scale
from rayograph.config.files import load_job, load_scale
from rayograph.config.overrides import apply_overrides
from rayograph.errors import RayographError
from rayograph.storage import open_store

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code. A user's mistake is one line on standard error and code 2."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # `ray job stop` and init systems ask this way
    try:
        options.command(options)
    except RayographError as error:
        print(f"rayograph: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("\nrayograph: interrupted; the same command goes on from here", file=sys.stderr)
        _leave(INTERRUPTED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rayograph", description="Latent diffusion on a Ray cluster.")
    parser.add_argument("--version", action="version", version=f"rayograph {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a job, or one of its stages with what it needs")
    _add_job_options(run)
    run.set_defaults(command=_run)

    show = commands.add_parser("show", help="print the resolved job and scale profile")
    _add_job_options(show)
    show.add_argument("--json", action="store_true", help="as JSON instead of YAML")
    show.set_defaults(command=_show)

    doctor = commands.add_parser("doctor", help="what the trainings of a job need and cost, before anything starts")
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
    doctor.set_defaults(command=_doctor)

    export = commands.add_parser("export", help="a model out of a training's checkpoints, under way or done")
    export.add_argument("uri", help="the training's artifact, as `rayograph ls` shows it below its store")
    export.add_argument("--to", metavar="URI", required=True, help="the folder that gets vae, unet and scheduler")
    export.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    export.add_argument("--at", metavar="IMAGES", type=int, help="which checkpoint; by default the newest whole one")
    which = export.add_mutually_exclusive_group()
    which.add_argument("--average", metavar="KEY", help="such as ema-0.9999; 'weight' for none; by default the first")
    which.add_argument(
        "--length",
        metavar="SHARE",
        type=_positive,
        help="solve for the average of this length, as a share of the training, from ema_lengths and snapshots",
    )
    export.set_defaults(command=_export)

    index = commands.add_parser("index", help="make a folder of WebDataset tars an artifact, for stages to read")
    index.add_argument("uri", help="the folder; sidecars and a manifest are written into it, tars stay as they are")
    index.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    index.add_argument("--on", metavar="SCALE", help="a scale profile: its ray and ingest parts count")
    index.add_argument("--held-out", metavar="GLOB", help="shards of the held-out split, such as 'val-*.tar'")
    index.add_argument(
        "--bad-sample-limit", metavar="N", type=int, default=0, help="rejected samples before it fails; by default 0"
    )
    index.add_argument("--again", action="store_true", help="make the manifest anew where one is there")
    index.set_defaults(command=_index)

    serve = commands.add_parser("serve", help="batch generation over HTTP, with a gallery; until interrupted")
    serve.add_argument("--on", metavar="SCALE", help="a scale profile, such as cluster/laptop/scale.yaml")
    serve.add_argument("--store", metavar="URI", help="where models are and images go, instead of the profile's store")
    serve.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    serve.add_argument("--host", default="127.0.0.1", help="to listen on; any but loopback asks for a token")
    serve.add_argument("--port", type=int, default=8000, help="to listen on; by default 8000")
    serve.add_argument("--token-file", metavar="FILE", help="a secret that clients show; or RAYOGRAPH_TOKEN")
    serve.add_argument(
        "--allow", metavar="URI", action="append", default=[], help="a place beside the store for models and requests"
    )
    serve.set_defaults(command=_serve)

    for name, wish, what in (
        ("pause", "paused", "a generation under way hands out nothing more, until it is resumed"),
        ("resume", "running", "a paused or cancelled generation may go on"),
        ("cancel", "cancelled", "a generation ends; what is drawn stays, and the same job goes on once resumed"),
    ):
        steering = commands.add_parser(name, help=what)
        steering.add_argument("uri", help="the generation's artifact, as `rayograph ls` shows it below its store")
        steering.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
        steering.set_defaults(command=_steer, wish=wish)

    for name, command, what in (
        ("ls", _ls, "list artifacts below a URI: committed or in progress, and their parents"),
        ("verify", _verify, "check every committed artifact below a URI: files, sizes, sha256"),
    ):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("uri", help="a store, or any folder in it")
        listing.add_argument("--endpoint-url", help="of an S3-compatible server")
        listing.set_defaults(command=command)

    whence = commands.add_parser("whence", help="which model, data, request and seed an image comes from")
    whence.add_argument("image", help="a file or a URI: PNG, JPEG or WebP")
    whence.add_argument("--store", metavar="URI", help="look its artifact up there, and all that it was made from")
    whence.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    whence.add_argument("--again", action="store_true", help="draw it again from the store, and compare the pixels")
    whence.add_argument("--to", metavar="FILE", help="where the image that was drawn again goes")
    whence.set_defaults(command=_whence)
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", help="a job file, with :stage for one stage and what it needs")
    parser.add_argument("--on", metavar="SCALE", help="a scale profile, such as cluster/laptop/scale.yaml")
    parser.add_argument("--store", metavar="URI", help="where artifacts go, instead of the profile's store")
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")
    parser.add_argument(
        "--set", metavar="STAGE.FIELD=VALUE", action="append", default=[], help="change one field; may be repeated"
    )


def _resolved(options: argparse.Namespace) -> tuple[Job, Scale, str | None]:
    path, _, target = options.job.partition(":")
    job, scale = apply_overrides(load_job(path), load_scale(options.on), options.set)
    if options.store is not None:
        scale = scale.model_copy(update={"store": options.store})
    return job, _with_endpoint(scale, options.endpoint_url), target or None


def _with_endpoint(scale: Scale, endpoint_url: str | None) -> Scale:
    """The option's, else the profile's, else the environment's: for workers elsewhere too."""
    found = endpoint_url or scale.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
    return scale.model_copy(update={"endpoint_url": found})


def _run(options: argparse.Namespace) -> None:
    from rayograph.stages.pipeline import run_job

    job, scale, target = _resolved(options)
    print(run_job(job, scale, target), flush=True)


def _show(options: argparse.Namespace) -> None:
    import json

    from rayograph.config import core_yaml
    from rayograph.stages.pipeline import stage_names

    job, scale, target = _resolved(options)
    names = stage_names(job, target)
    described = job.model_dump(mode="json")
    described["stages"] = {name: described["stages"][name] for name in names}
    shown: dict[str, Any] = {"job": described, "scale": scale.model_dump(mode="json")}
    if options.json:
        print(json.dumps(shown, indent=2))
    else:
        print(core_yaml.dump(shown), end="")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def _doctor(options: argparse.Namespace) -> None:
    from rayograph.stages.doctor import examine
    from rayograph.stages.pipeline import stage_names
    from rayograph.stages.preflight import check

    job, scale, target = _resolved(options)
    names = stage_names(job, target)
    check(job, scale, names)
    lines = examine(job, scale, names, tflops=options.tflops, utilisation=options.utilisation, price=options.price)
    for line in lines:
        print(line)


def _export(options: argparse.Namespace) -> None:
    from rayograph.stages.export import Wanted, export

    wanted = Wanted(options.at, options.average, options.length)
    for line in export(options.uri, options.to, options.endpoint_url, wanted):
        print(line)


def _steer(options: argparse.Namespace) -> None:
    from rayograph.stages.steering import steer

    print(steer(options.uri, options.endpoint_url, options.wish))


def _index(options: argparse.Namespace) -> None:
    from rayograph.stages.index import index_folder, summary

    scale = _with_endpoint(load_scale(options.on), options.endpoint_url)
    manifest = index_folder(
        options.uri,
        scale,
        held_out=options.held_out,
        bad_sample_limit=options.bad_sample_limit,
        again=options.again,
    )
    for line in summary(open_store(options.uri, scale.endpoint_url).uri, manifest):
        print(line, flush=True)


def _serve(options: argparse.Namespace) -> None:
    from rayograph.stages.serve import serve_http

    scale = load_scale(options.on)
    if options.store is not None:
        scale = scale.model_copy(update={"store": options.store})
    serve_http(
        _with_endpoint(scale, options.endpoint_url), options.host, options.port, options.token_file, options.allow
    )


def _ls(options: argparse.Namespace) -> None:
    from rayograph.stages.listing import list_artifacts

    for line in list_artifacts(_store(options)):
        print(line)


def _verify(options: argparse.Namespace) -> None:
    from rayograph.stages.listing import verify

    for line in verify(_store(options)):
        print(line)


def _whence(options: argparse.Namespace) -> None:
    from rayograph.stages.whence import Asked, whence

    for line in whence(options.image, options.endpoint_url, Asked(options.store, options.again, options.to)):
        print(line)


def _store(options: argparse.Namespace) -> Any:
    store = open_store(options.uri, options.endpoint_url)
    store.check_access(writable=False)
    return store


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _leave(code: int) -> None:
    """Ends the process now: Ray's own threads would hold it while their work winds down."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()
    sys.stderr.flush()
    os._exit(code)
