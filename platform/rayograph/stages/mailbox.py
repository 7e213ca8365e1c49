"""Where a training's first worker leaves messages for the driver. A process of its own, so it imports nothing heavy."""

from typing import Any


class Mailbox:
    """Messages in the order they came; made into a Ray actor by the driver."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        """All that came since the last time."""
        messages, self._messages = self._messages, []
        return messages
