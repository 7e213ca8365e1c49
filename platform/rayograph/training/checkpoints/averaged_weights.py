"""Weights out of a training's checkpoints: of any average that it kept, or of one between.

An average that was not kept is the mixture of snapshots whose profile over time comes nearest to its own (Karras et al.
2024, sec. 3.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rayograph.config.job.training import LONGEST_EMA, Training
from rayograph.errors import CheckpointError, ConfigError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import digest_of
from rayograph.training.checkpoints.averages import LENGTH, PowerFunction, mixture
from rayograph.training.checkpoints.checkpoint import SNAPSHOT, Commit, commit_of, positions
from rayograph.training.checkpoints.piece_files import PieceFile, checked, pieces_in
from rayograph.training.engine.state import WEIGHT
from rayograph.training.setup import averages_of

FARTHEST = 0.5
"""From the profile of the average that was asked for, as a share of its norm: a mixture farther off is another one."""


@dataclass(frozen=True)
class Part:
    """What one checkpoint, or snapshot, gives: how much of which averages, by their keys."""

    images_seen: int
    commit: Commit
    shares: dict[str, float]

    def files(self) -> Iterator[PieceFile]:
        """Yield the records of those that are read."""
        solved = all(key.startswith(f"{LENGTH}-") for key in self.shares)
        for file in self.commit["files"]:
            if not solved or file["path"].rpartition("/")[2].startswith(f"{LENGTH}-"):
                yield file


@dataclass(frozen=True)
class AveragedWeights:
    """Which weights are meant, found in their checkpoints' commits and not read yet."""

    artifact: Artifact
    parts: tuple[Part, ...]

    @property
    def images_seen(self) -> int:
        return max(part.images_seen for part in self.parts)

    @property
    def shares(self) -> dict[str, float]:
        """How much of what: "25600 ema-0.9999"."""
        return {f"{part.images_seen} {key}": share for part in self.parts for key, share in part.shares.items()}

    @property
    def digest(self) -> str:
        """Of the files that are read, and which averages in them; not of the shares, which are solved for."""
        return digest_of(
            [
                [part.images_seen, sorted(part.shares), sorted(file["sha256"] for file in part.files())]
                for part in self.parts
            ]
        )

    def read(self, network: str) -> dict[str, Tensor]:
        """Return one network's weights by the engine's names. Raises CheckpointError for a spoilt file."""
        weights: dict[str, Tensor] = {}
        for part in self.parts:
            prefixes = {f"{network}/{key}/": share for key, share in part.shares.items()}
            for name, values in _assembled(self.artifact, part, prefixes).items():
                weights[name] = weights[name] + values if name in weights else values
        return weights


def kept_average(artifact: Artifact, recipe: Training, average: str | None, images_seen: int) -> AveragedWeights:
    """Find an average, None being the first, or the "weight" itself at one checkpoint.

    Raises ConfigError for one that the training does not keep, CheckpointError where there is no such checkpoint.
    """
    key = average_key(recipe, average)
    there = positions(artifact)
    if images_seen not in there:
        raise CheckpointError(
            f"{artifact.uri}: expected a checkpoint at {images_seen} images, there are those at {there}"
        )
    return AveragedWeights(artifact, (Part(images_seen, commit_of(artifact, images_seen), {key: 1.0}),))


def average_key(recipe: Training, average: str | None) -> str:
    """Return an average's key, None being the first. Raises ConfigError for one that the training does not keep."""
    kept = [found.key for found in averages_of(recipe)]
    if average is None:
        return kept[0]
    if average not in (*kept, WEIGHT):
        raise ConfigError(f"average: expected one of {', '.join((*kept, WEIGHT))}, got {average!r}")
    return average


def solved_average(artifact: Artifact, recipe: Training, length: float, at: int | None) -> AveragedWeights:
    """Find what the average of `length` at `at` images, by default at the newest checkpoint, is mixed of.

    Raises ConfigError for a length out of reach, CheckpointError where there is no such checkpoint.
    """
    if not 0 < length < LONGEST_EMA:
        raise ConfigError(f"length: expected a share of the training between 0 and {LONGEST_EMA}, got {length:g}")
    if not recipe.ema_lengths:
        raise ConfigError("length: expected a training with ema_lengths, as (0.05, 0.1), this one keeps none")
    commits = {found: commit_of(artifact, found) for found in positions(artifact)}
    commits |= {found: commit_of(artifact, found, SNAPSHOT) for found in positions(artifact, SNAPSHOT)}
    steps = {found: found // recipe.global_batch_size for found in commits}
    there = sorted(found for found, taken in steps.items() if taken and (at is None or found <= at))
    if not there or (at is not None and there[-1] != at):
        raise CheckpointError(
            f"{artifact.uri}: expected a checkpoint or snapshot at {at} images, found {sorted(steps)}"
        )
    tracked = [PowerFunction(kept) for kept in recipe.ema_lengths]
    entries = [(found, average) for found in there for average in tracked]
    shares, missed = mixture([(average.length, steps[found]) for found, average in entries], length, steps[there[-1]])
    if missed > FARTHEST:
        raise ConfigError(
            f"length: expected one that the snapshots reach, got {length:g}, whose profile the best mixture misses "
            f"by {missed:.0%}: a length nearer to {recipe.ema_lengths}, or snapshots closer together"
        )
    parts: dict[int, Part] = {}
    for (found, average), share in zip(entries, shares, strict=True):
        parts.setdefault(found, Part(found, commits[found], {})).shares[average.key] = share
    return AveragedWeights(artifact, tuple(parts.values()))


def _assembled(artifact: Artifact, part: Part, prefixes: dict[str, float]) -> dict[str, Tensor]:
    """Sum share × tensor over the keys that `prefixes` names, by parameter."""
    weights: dict[str, Tensor] = {}
    for file in part.files():
        for piece in pieces_in(checked(artifact, file)):
            for prefix, share in prefixes.items():
                if piece.name.startswith(prefix):
                    name = piece.name.removeprefix(prefix)
                    if name not in weights:
                        weights[name] = torch.zeros(part.commit["shapes"][piece.name])
                    flat = weights[name].view(-1)
                    flat[piece.start : piece.start + len(piece.values)] += share * piece.values
    return weights
