"""What a job has come to so far: counted by its driver, written down by its monitor."""

from dataclasses import dataclass, field

from rayograph.generation.dispatcher import DeadLetter
from rayograph.sampling.work_unit import CompletedUnit


@dataclass
class Tally:
    """Samples and units in committed shards, by whomever; what they cost here; and units that were given up."""

    total_samples: int
    total_units: int
    samples: int = 0
    units: int = 0
    sent_again: int = 0
    device_seconds: float = 0.0
    """Of drawing, over all attempts at the job."""
    dead: list[DeadLetter] = field(default_factory=list)

    @property
    def units_left(self) -> int:
        return self.total_units - self.units

    def complete(self, unit: CompletedUnit) -> None:
        """Count a unit whose shard is committed."""
        self.units += 1
        self.samples += unit.shard.samples
        self.device_seconds += unit.device_seconds

    def give_up(self, letter: DeadLetter) -> None:
        """Keep a unit that failed as often as is allowed."""
        self.dead.append(letter)

    def send_again(self) -> None:
        """Count a unit that failed and is sent once more."""
        self.sent_again += 1
