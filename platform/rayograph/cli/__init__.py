"""The command line. A command is a file here: `HELP`, `add_arguments(parser)`, `run(options)`, and a line in COMMANDS.

Those files are light: what a command does stands in `commands/`, and is imported once it runs.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NoReturn, Protocol

from rayograph import __version__
from rayograph.cli import (
    cancel,
    doctor,
    export,
    import_folder,
    index,
    ls,
    pause,
    resume,
    run,
    serve,
    show,
    trace,
    verify,
)
from rayograph.errors import RayographError
from rayograph.runs.terminal import console
from rayograph.runs.terminal.console import say

USER_ERROR = 2
INTERRUPTED = 130
NOBODY_READS = 128 + signal.SIGPIPE
"""What a shell sees of `cat` too, where `head` has read enough."""


class Command(Protocol):
    """One word of the command line, as a module."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what may follow the word."""

    def run(self, options: argparse.Namespace) -> None:
        """Do it. Raises RayographError, one line, for a user's mistake."""


COMMANDS: Mapping[str, Command] = {
    "run": run,
    "show": show,
    "doctor": doctor,
    "export": export,
    "import": import_folder,
    "index": index,
    "serve": serve,
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "ls": ls,
    "verify": verify,
    "trace": trace,
    "whence": trace,  # its older name
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A user's mistake is one line on standard error and code 2."""
    console.ready()
    sys.excepthook = _defect
    options = _parser().parse_args(arguments)
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


class _Parser(argparse.ArgumentParser):
    """Its complaints quote the arguments."""

    def error(self, message: str) -> NoReturn:
        super().error(console.escaped(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="rayograph", description="Latent diffusion on a Ray cluster.")
    parser.add_argument("--version", action="version", version=f"rayograph {__version__}")
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        word = words.add_parser(name, help=command.HELP)
        command.add_arguments(word)
        word.set_defaults(command=command.run)
    return parser


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell a defect of ours whole; what it quotes is not obeyed."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.rstrip("\n").split("\n"):
            say(line)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _leave(code: int) -> None:
    """End the process now: Ray's own threads would hold it while their work winds down."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()
    sys.stderr.flush()
    os._exit(code)
