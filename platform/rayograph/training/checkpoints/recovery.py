"""What a training keeps beside its weights, and how it goes back to them when it diverges."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rayograph.errors import DivergenceError
from rayograph.training.checkpoints.checkpoint import CheckpointFacts, Checkpoints
from rayograph.training.divergence import DivergenceDetector
from rayograph.training.training_progress import TrainingProgress


@dataclass
class Recovery:
    """Checkpoints with the detector's knowledge. All workers call everything together.

    `write` puts what else must be in the store before a checkpoint counts there. `tell` is told in one line of every
    time that the training went back.
    """

    checkpoints: Checkpoints
    progress: TrainingProgress
    detector: DivergenceDetector
    max_rollbacks: int
    write: Callable[[], None]
    tell: Callable[[str], None]
    rollbacks: int = 0
    _figures: list[float] = field(default_factory=list)
    _saved: int | None = None
    """Images seen at the last one."""

    def resume(self) -> None:
        """Sets learner, progress and detector to the newest checkpoint, if there is one."""
        self.progress.images_seen = self._load() or 0

    def save(self) -> None:
        """Begins a checkpoint of here and now, if there is none yet."""
        if self._saved == self.progress.images_seen:
            return
        self._saved = self.progress.images_seen
        self.write()
        figure = sum(self._figures) / len(self._figures) if self._figures else None
        facts: CheckpointFacts = {"rollbacks": self.rollbacks, "guard": self.detector.state(), "figure": figure}
        self.checkpoints.save(self.progress.images_seen, facts)
        self._figures = []

    def note(self, figure: float) -> None:
        """What a step came to: by their mean since the last one checkpoints are rated, less being better."""
        self._figures.append(figure)

    def undo(self, fault: str) -> None:
        """Takes the newest checkpoint's weights to as many images as were seen, and makes that a checkpoint too.

        Whoever starts again does not meet the same batch again. Raises DivergenceError once too many were undone.
        """
        rollbacks = self.rollbacks + 1
        where = f"at {self.progress.images_seen:,} images {fault}"
        if rollbacks > self.max_rollbacks:
            raise DivergenceError(
                f"{where}; it had gone back to a checkpoint {self.rollbacks} times (max_rollbacks): "
                "a lower learning_rate, a longer warmup_images or gradient_clipping may keep it together"
            )
        back_at = self._load()
        if back_at is None:
            raise DivergenceError(f"{where}, and no whole checkpoint is left to go back to")
        self.rollbacks = rollbacks
        self.tell(
            f"{where}: weights of {back_at:,} images, and on with what follows ({rollbacks} of {self.max_rollbacks})"
        )
        self.save()

    def _load(self) -> int | None:
        found = self.checkpoints.load_newest()
        if found is None:
            return None
        images_seen, facts = found
        self._saved = images_seen
        self._figures = []
        self.rollbacks = facts["rollbacks"]
        self.detector.load(facts["guard"])
        return images_seen
