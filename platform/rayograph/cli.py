"""The command line: run, show, ls, verify."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
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

    for name, command, what in (
        ("ls", _ls, "list artifacts below a URI: committed or in progress, and their parents"),
        ("verify", _verify, "check every committed artifact below a URI: files, sizes, sha256"),
    ):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("uri", help="a store, or any folder in it")
        listing.add_argument("--endpoint-url", help="of an S3-compatible server")
        listing.set_defaults(command=command)
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
    changes = {"store": options.store, "endpoint_url": options.endpoint_url}
    scale = scale.model_copy(update={name: value for name, value in changes.items() if value is not None})
    if scale.endpoint_url is None and os.environ.get("AWS_ENDPOINT_URL"):
        scale = scale.model_copy(update={"endpoint_url": os.environ["AWS_ENDPOINT_URL"]})  # for workers elsewhere too
    return job, scale, target or None


def _run(options: argparse.Namespace) -> None:
    from rayograph.stages.pipeline import run_job

    job, scale, target = _resolved(options)
    print(run_job(job, scale, target), flush=True)


def _show(options: argparse.Namespace) -> None:
    import json

    import yaml

    from rayograph.stages.pipeline import stage_names

    job, scale, target = _resolved(options)
    names = stage_names(job, target)
    described = job.model_dump(mode="json")
    described["stages"] = {name: described["stages"][name] for name in names}
    shown: dict[str, Any] = {"job": described, "scale": scale.model_dump(mode="json")}
    if options.json:
        print(json.dumps(shown, indent=2))
    else:
        print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), end="")


def _ls(options: argparse.Namespace) -> None:
    from rayograph.stages.listing import list_artifacts

    for line in list_artifacts(_store(options)):
        print(line)


def _verify(options: argparse.Namespace) -> None:
    from rayograph.stages.listing import verify

    for line in verify(_store(options)):
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
