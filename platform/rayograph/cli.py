"""The command line: run, show, doctor, export, pause, resume, cancel, index, serve, ls, verify, whence."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rayograph.commands.arguments import parser_of
from rayograph.config import Job, Scale, core_yaml
from rayograph.config.files import load_job, load_scale
from rayograph.config.overrides import apply_overrides
from rayograph.errors import RayographError
from rayograph.runs import console
from rayograph.runs.console import put, say
from rayograph.storage import Access, open_store

USER_ERROR = 2
INTERRUPTED = 130
NOBODY_READS = 128 + signal.SIGPIPE
"""What a shell sees of `cat` too, where `head` has read enough."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A user's mistake is one line on standard error and code 2."""
    console.ready()
    sys.excepthook = _defect
    options = parser_of(COMMANDS).parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # `ray job stop` and init systems ask this way
    try:
        options.command(options)
    except RayographError as error:
        say(f"rayograph: {error}")
        return USER_ERROR
    except console.OutputError as error:
        if error.broken:
            return NOBODY_READS
        say(f"rayograph: {error}")
        return USER_ERROR
    except KeyboardInterrupt:
        say("")
        say("rayograph: interrupted; the same command goes on from here")
        _leave(INTERRUPTED)
    return 0


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell a defect of ours whole; what it quotes is not obeyed."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.rstrip("\n").split("\n"):
            say(line)


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
    from rayograph.pipeline.runner import run_job

    job, scale, target = _resolved(options)
    put(run_job(job, scale, target))


def _show(options: argparse.Namespace) -> None:
    import json

    from rayograph.pipeline.runner import stage_names

    job, scale, target = _resolved(options)
    names = stage_names(job, target)
    described = job.model_dump(mode="json")
    described["stages"] = {name: described["stages"][name] for name in names}
    shown: dict[str, Any] = {"job": described, "scale": scale.model_dump(mode="json")}
    if options.json:
        console.put_raw(json.dumps(shown, indent=2) + "\n")
    else:
        console.put_raw(core_yaml.dump(shown, console.put_is_unicode()))


def _doctor(options: argparse.Namespace) -> None:
    from rayograph.commands.doctor import examine
    from rayograph.pipeline.preflight import check, check_machine
    from rayograph.pipeline.runner import stage_names

    job, scale, target = _resolved(options)
    names = stage_names(job, target)
    check(job, scale, names)
    lines = examine(job, scale, names, tflops=options.tflops, utilisation=options.utilisation, price=options.price)
    for line in lines:
        put(line)
    check_machine(scale)  # last, as a job is planned elsewhere than where it runs


def _export(options: argparse.Namespace) -> None:
    from rayograph.commands.export import Wanted, export

    wanted = Wanted(options.at, options.average, options.length)
    for line in export(options.uri, options.to, options.endpoint_url, wanted):
        put(line)


def _steer(options: argparse.Namespace) -> None:
    from rayograph.commands.control import steer

    put(steer(options.uri, options.endpoint_url, options.wish))


def _index(options: argparse.Namespace) -> None:
    from rayograph.commands.index_shards import index_folder, summary

    scale = _with_endpoint(load_scale(options.on), options.endpoint_url)
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


def _serve(options: argparse.Namespace) -> None:
    from rayograph.commands.serve import serve_http

    scale = load_scale(options.on)
    if options.store is not None:
        scale = scale.model_copy(update={"store": options.store})
    serve_http(
        _with_endpoint(scale, options.endpoint_url), options.host, options.port, options.token_file, options.allow
    )


def _ls(options: argparse.Namespace) -> None:
    from rayograph.commands.listing import list_artifacts

    for line in list_artifacts(_store(options)):
        put(line)


def _verify(options: argparse.Namespace) -> None:
    from rayograph.commands.listing import verify

    for line in verify(_store(options), _access(options)):
        put(line)


def _whence(options: argparse.Namespace) -> None:
    from rayograph.commands.provenance import Asked, whence

    for line in whence(options.image, _access(options), Asked(options.store, options.again, options.to)):
        console.put_labelled(line)


def _access(options: argparse.Namespace) -> Access:
    """How stores are opened: the endpoint alone, or with a profile's settings too."""
    if options.on is None:
        return str(options.endpoint_url) if options.endpoint_url else None
    return _with_endpoint(load_scale(options.on), options.endpoint_url).access


def _store(options: argparse.Namespace) -> Any:
    store = open_store(options.uri, _access(options))
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


COMMANDS = {
    "run": _run,
    "show": _show,
    "doctor": _doctor,
    "export": _export,
    "steer": _steer,
    "index": _index,
    "serve": _serve,
    "ls": _ls,
    "verify": _verify,
    "whence": _whence,
}
