"""How fast work goes, from when its parts came, and how long the rest will take."""

from collections import deque

WINDOW_SECONDS = 30.0
SHORTEST_SECONDS = 4.0
"""Less than this is chance, and warming up: first steps are several times slower than what follows."""
MOST_ARRIVALS = 1000


class Rate:
    """Units a second over the last while.

    It begins with the first part that is done, so start-up does not count. Of parts that are worked on `at_once` side
    by side several come at a time: whole rounds of them are counted.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = max(1, at_once)
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=max(MOST_ARRIVALS, 4 * self._at_once))

    def restart(self) -> None:
        """Forget what came: others go on with the work, who have to start first."""
        self._arrivals.clear()

    def arrived(self, now: float, done: float) -> None:
        """Note that `done` units are done at `now`, in seconds."""
        self._arrivals.append((now, done))
        while len(self._arrivals) > 2 * self._at_once + 1 and now - self._arrivals[0][0] > WINDOW_SECONDS:
            self._arrivals.popleft()

    def per_second(self, now: float) -> float | None:
        """Return the rate; None while too little has come to tell. What is overdue slows it down."""
        rounds = (len(self._arrivals) - 1) // self._at_once
        if rounds < 1:
            return None
        (then, before), (last, done) = self._arrivals[-1 - rounds * self._at_once], self._arrivals[-1]
        elapsed = last - then
        overdue = max(0.0, now - last - elapsed / rounds)
        return (done - before) / (elapsed + overdue) if elapsed >= SHORTEST_SECONDS else None

    def seconds_left(self, now: float, total: float) -> float | None:
        """Return the seconds until `total` is done, running on between two arrivals; None while nobody can tell."""
        rate = self.per_second(now)
        if not rate:
            return None
        last, done = self._arrivals[-1]
        return max(0.0, (total - done) / rate - (now - last))
