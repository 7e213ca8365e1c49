"""Asking an S3 server again, where its failure may pass.

boto3 repeats what fails before the answer's first byte. Bodies that break off or fall silent would need a second loop
around its own, whose attempts multiply; and its loop shares one allowance of retries between all of a client's
requests, so that a few dozen parts that fail at once use it up and the next failure is final. Hence this one loop,
with boto3's switched off: a request and all of its body are one attempt.
"""

import random
import time
from collections.abc import Callable
from itertools import groupby
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from rayograph.storage.s3_errors import asking, code_of, said, status_of

# Eight attempts outlast 6 s of failures on average, 13 s at the most, and 26 s or 51 s where the server asks to slow
# down. A part of them that fails with a chance of one in four fails for good once in 65,000.
BACK_OFF_SECONDS = 0.1
SLOW_DOWN_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 20.0
# A bad minute of a server that is there must not end a training of weeks: neither one that asks to slow down, nor one
# that has answered before. One that never did is more likely a wrong address, and that is said soon.
PATIENCE_SECONDS = 120.0

_TOO_FAST = {429, 503}
_PASSING_STATUSES = {408, 409, 429}  # 409: another creation of the object is under way, and may yet fail
_PASSING_CODES = {"RequestTimeout", "IncompleteBody"}  # what S3 says, with status 400, where the connection failed it
_BROKEN = (HTTPClientError, ConnectionError, IncompleteReadError, ResponseParserError, HTTPError)

_T = TypeVar("_T")

_answered: set[str | None] = set()
"""Servers that this process has had something from."""


def persist(server: str | None, uri: str, asked: str, attempts: int, ask: Callable[[], _T]) -> _T:
    """What `ask` returns, called `attempts` times while its failures may pass, later and later.

    A server that is known to be there is asked for `PATIENCE_SECONDS` at the least. Raises `MissingObjectError` or
    `StorageError`: with what failed before, if the last failure was not the first.
    """
    failures: list[str] = []
    began = time.monotonic()

    def history() -> str:
        if not failures:
            return ""
        runs = [(text, len(list(same))) for text, same in groupby(failures)]
        before = ", ".join(f"{text} ×{times}" if times > 1 else text for text, times in runs)
        return f": attempt {len(failures) + 1} in {time.monotonic() - began:.0f} s, after {before}"

    while True:
        with asking(uri, asked, history):
            try:
                result = ask()
                _answered.add(server)
                return result
            except (ClientError, BotoCoreError, ResponseParserError, HTTPError) as error:
                too_fast = isinstance(error, ClientError) and status_of(error) in _TOO_FAST
                patience = PATIENCE_SECONDS if too_fast or server in _answered else 0.0
                tried_enough = len(failures) + 1 >= attempts and time.monotonic() - began >= patience
                if tried_enough or not _may_pass(error):
                    raise
                failures.append(said(error))
        back_off(len(failures) - 1, SLOW_DOWN_SECONDS if too_fast else BACK_OFF_SECONDS)


def back_off(attempt: int, seconds: float | None = None) -> None:
    """Wait longer each time, and each caller differently, so that many do not come back at once."""
    first = BACK_OFF_SECONDS if seconds is None else seconds
    time.sleep(random.uniform(0, min(LONGEST_BACK_OFF_SECONDS, first * 2**attempt)))


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = status_of(error)
        passing = status in _PASSING_STATUSES or code_of(error) in _PASSING_CODES
        return passing or (status >= 500 and status != 501)  # 501: this server never will
    return isinstance(error, _BROKEN)
