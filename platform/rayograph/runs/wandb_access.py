"""Whether Weights & Biases can be had, known before any work: the mode, the account, the folder, the network."""

import netrc
import os
import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Mode = Literal["online", "offline", "disabled"]

MODES: Mapping[str, Mode] = {
    "online": "online", "run": "online", "shared": "online",
    "offline": "offline", "dryrun": "offline",
    "disabled": "disabled",
}  # fmt: skip
"""What WANDB_MODE may say."""
HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
"""Whose accounts count where WANDB_BASE_URL names no other server."""
REACHED_WITHIN_SECONDS = 5.0


class Access(NamedTuple):
    """How figures are tracked, and, where that is not what was asked for, why: a line for its user."""

    mode: Mode
    warning: str | None = None


def wandb_mode(environment: Mapping[str, str] = os.environ) -> Mode:
    """Return WANDB_MODE where it is set; otherwise online for someone logged in, and offline for anyone else."""
    asked = environment.get("WANDB_MODE", "").strip().lower()
    if asked:
        return MODES.get(asked, "offline")
    return "online" if _logged_in(environment) else "offline"


def wandb_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where Weights & Biases keeps what it sends, and what it cannot send."""
    return Path(environment.get("WANDB_DIR") or Path.home() / ".cache" / "rayograph")


def wandb_access(environment: Mapping[str, str] = os.environ) -> Access:
    """Find out how figures can be tracked; asks the network only where the mode is online."""
    asked, mode = environment.get("WANDB_MODE", "").strip(), wandb_mode(environment)
    if mode == "disabled":
        return Access(mode)
    folder = wandb_folder(environment)
    fault = _unwritable(folder)
    if fault is not None:
        return Access("disabled", f"W&B: {folder} cannot be written to ({fault}): nothing is tracked (WANDB_DIR)")
    if asked and asked.lower() not in MODES:
        return Access(mode, f"WANDB_MODE: expected online, offline or disabled, got {asked!r}: offline")
    if mode == "online":
        if not _logged_in(environment):
            return Access("offline", "W&B: no key for it (WANDB_API_KEY, `wandb login`): offline")
        fault = _unreachable(environment)
        if fault is not None:
            return Access("offline", f"W&B: not reachable ({fault}): offline, to be sent later by `wandb sync`")
    return Access(mode)


def settle(say: Callable[[str], None], environment: MutableMapping[str, str] = os.environ) -> None:
    """Make what was found out the command's mode from now on, and say once what is not as it was asked for."""
    access = wandb_access(environment)
    environment["WANDB_MODE"] = access.mode
    if access.warning is not None:
        say(f"warning: {access.warning}")


def _logged_in(environment: Mapping[str, str]) -> bool:
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = urlsplit(environment.get("WANDB_BASE_URL", "")).hostname
    path = Path(environment.get("NETRC", "~/.netrc")).expanduser()
    try:
        known = netrc.netrc(path).hosts
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return False
    return any(host in known for host in ([own] if own else HOSTS))


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be put there, if so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _unreachable(environment: Mapping[str, str]) -> str | None:
    """Why its server does not answer, if so; any answer will do."""
    import urllib.error
    import urllib.request

    url = environment.get("WANDB_BASE_URL")
    if not url:
        import wandb

        url = wandb.Settings().base_url
    try:
        urllib.request.urlopen(url, timeout=REACHED_WITHIN_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None
