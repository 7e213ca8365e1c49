"""Between a training's workers and the driver. A process of its own, so it imports nothing heavy."""

from collections.abc import Sequence
from typing import Any


class Mailbox:
    """Messages in the order they came; made into a Ray actor by the driver."""

    def __init__(self, bad_samples: Sequence[str]) -> None:
        self._messages: list[dict[str, Any]] = []
        self._bad_samples = list(bad_samples)
        self._stop = False

    def substituted(self, reasons: list[str]) -> list[str]:
        """Notes unreadable samples, each once, and gives all that are known."""
        for reason in reasons:
            if reason not in self._bad_samples:
                self._bad_samples.append(reason)
                self._messages.append({"bad_sample": reason})
        return self._bad_samples

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def ask_to_stop(self, stop: bool) -> None:
        """Whether the workers are to stop at a checkpoint of here and now."""
        self._stop = stop

    def must_stop(self) -> bool:
        return self._stop

    def take(self) -> list[dict[str, Any]]:
        """All that came since the last time."""
        messages, self._messages = self._messages, []
        return messages
