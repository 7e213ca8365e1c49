"""What one client may ask of the HTTP app: how much at once, and how often. Pure: the clock is given in."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from rayograph.api.submission import Submission
from rayograph.errors import ConfigError

MOST_CLIENTS = 10_000
"""Buckets that are remembered; beyond it the one longest unused is forgotten, which only ever favours its client."""


@dataclass(frozen=True)
class Rate:
    """`per_second` in the long run, `burst` at once."""

    per_second: float
    burst: int


@dataclass(frozen=True)
class Limits:
    """`body_seconds` is what a request's body may take to arrive. A page of the gallery is a hundred thumbnails."""

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    rows: int = 10_000
    prompt_characters: int = 4_096
    requests: Rate = Rate(per_second=100, burst=500)
    costly: Rate = Rate(per_second=0.5, burst=30)
    """Submissions, single images drawn again and tries of a token."""

    def check(self, submission: Submission, files: frozenset[str] = frozenset()) -> None:
        """Raises ConfigError for more rows, or a longer text in one, than one submission may hold.

        `files` are columns of files, which the body's own bound is for.
        """
        rows = submission.rows or []
        if len(rows) > self.rows:
            raise ConfigError(f"rows: expected at most {self.rows:,}, got {len(rows):,}: put them into a request_uri")
        for number, row in enumerate(rows):
            for name, value in row.said().items():
                if name not in files and isinstance(value, str) and len(value) > self.prompt_characters:
                    got = f"expected at most {self.prompt_characters:,} characters, got {len(value):,}"
                    raise ConfigError(f"rows.{number}.{name}: {got}")


class Buckets:
    """A token bucket a client: full at first, filled again at the rate, and each request takes one token."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        """`clock` gives seconds from any start."""
        self._rate, self._clock = rate, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted
        self._lock = Lock()

    def take(self, client: str) -> float:
        """0 where the request may pass; else the seconds until one may, and nothing is taken."""
        with self._lock:
            now = self._clock()
            tokens, then = self._left.pop(client, (float(self._rate.burst), now))
            tokens = min(self._rate.burst, tokens + (now - then) * self._rate.per_second)
            passes = tokens >= 1
            self._left[client] = (tokens - passes, now)
            if len(self._left) > MOST_CLIENTS:
                self._left.popitem(last=False)
            return 0.0 if passes else (1 - tokens) / self._rate.per_second
