"""`rayograph export`: a model out of a training's checkpoints, at any time, of any of its averages or of one between.

An average that was not kept is the mixture of snapshots whose profile over time comes nearest to its own (Karras et al.
2024, sec. 3.2).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rayograph.config import TrainAutoencoder, TrainDiffusion
from rayograph.config.job.training import LONGEST_EMA, Training
from rayograph.errors import CheckpointError, ConfigError, DataError, RayographError
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.pipeline.resolve import needed, resolve
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.job_record import read_job
from rayograph.runs.stage_context import StageContext
from rayograph.stages.training.learned_data import learned_data
from rayograph.storage import open_store
from rayograph.training.autoencoder_learner import AUTOENCODER_ENGINE, autoencoder_models
from rayograph.training.checkpoints.averages import LENGTH, PowerFunction, mixture
from rayograph.training.checkpoints.checkpoint import SNAPSHOT, commit_of, folder_of, positions
from rayograph.training.checkpoints.piece_files import checked, pieces_in
from rayograph.training.diffusion_learner import DENOISER_ENGINE, diffusion_models
from rayograph.training.engine.state import WEIGHT
from rayograph.training.setup import averages_of

MODEL = "model/"
FARTHEST = 0.5
"""From the profile of the average that was asked for, as a share of its norm: a mixture farther off is another one."""

Recipe = TrainAutoencoder | TrainDiffusion


@dataclass(frozen=True)
class Wanted:
    """At how many images, None being the newest; which average by its key, or a length to solve for."""

    images_seen: int | None = None
    average: str | None = None
    length: float | None = None


def export(uri: str, target: str, endpoint_url: str | None, wanted: Wanted) -> Iterator[str]:
    """Write vae, unet and scheduler folders, as `from_pretrained` opens them, below `target`; yield what it took.

    Raises ConfigError for an average that the training does not keep, CheckpointError where nothing is whole.
    """
    stage, recipe = _training(uri, endpoint_url)
    place = Artifact(open_store(target, endpoint_url), "")
    if place.store.uri == open_store(stage.artifact.uri, endpoint_url).uri:
        raise ConfigError(f"--to: expected another folder than the training's own, got {target}")
    network = AUTOENCODER_ENGINE if isinstance(recipe, TrainAutoencoder) else DENOISER_ENGINE
    if wanted.length is None:
        images_seen, weights = _kept(stage.artifact, recipe, network, wanted)
        shares = {f"{images_seen} {_key(recipe, wanted.average)}": 1.0}
    else:
        images_seen, weights, shares = _solved(stage.artifact, recipe, network, wanted.length, wanted.images_seen)
    place.store.check_access()  # not before: what cannot be exported leaves nothing there
    for folder, model in _models(stage, recipe, weights):
        save_model(place, folder.removeprefix(MODEL), model)
    if isinstance(recipe, TrainDiffusion):
        for name in stage.artifact.names(f"{AUTOENCODER}/"):
            place.write(name.removeprefix(MODEL), stage.artifact.read(name))
    facts = {"artifact": stage.artifact.uri, "images_seen": images_seen, "length": wanted.length, "shares": shares}
    place.write("export.json", json.dumps(facts, indent=1).encode())
    yield f"{place.uri}  of {images_seen:,} images: " + ", ".join(f"{share:+.3f} {of}" for of, share in shares.items())


def _training(uri: str, endpoint_url: str | None) -> tuple[StageContext, Recipe]:
    store_uri, *path = uri.rstrip("/").rsplit("/", 3)
    store = open_store(store_uri, endpoint_url)
    artifact = Artifact(store, "/".join(path))
    if len(path) < 3 or not store.exists(artifact.key(RESOLVED)):
        raise DataError(f"{uri}: expected a training's artifact, <store>/<job>/<stage>/<key>, found no {RESOLVED}")
    record = read_job(artifact)
    job, name, recipe = record.job, record.stage, record.declared
    if not isinstance(recipe, TrainAutoencoder | TrainDiffusion):
        raise DataError(f"{uri}: expected a training, got a stage of kind {recipe.kind}")
    scale = record.scale.model_copy(update={"endpoint_url": endpoint_url or record.scale.endpoint_url})
    above = job.model_copy(
        update={"stages": {needed_name: job.stages[needed_name] for needed_name in needed(job, name)}}
    )
    return replace(resolve(above, scale, store)[name], artifact=artifact), recipe


def _key(recipe: Training, average: str | None) -> str:
    kept = [found.key for found in averages_of(recipe)]
    if average is None:
        return kept[0]
    if average not in (*kept, WEIGHT):
        raise ConfigError(f"--average: expected one of {', '.join((*kept, WEIGHT))}, got {average!r}")
    return average


def _kept(artifact: Artifact, recipe: Training, network: str, wanted: Wanted) -> tuple[int, dict[str, Tensor]]:
    """Return the weights at one checkpoint; without one asked for, at the newest whole one."""
    key = _key(recipe, wanted.average)
    there = positions(artifact)
    if wanted.images_seen is not None and wanted.images_seen not in there:
        raise CheckpointError(
            f"{artifact.uri}: expected a checkpoint at {wanted.images_seen} images, there are those at {there}"
        )
    faults = []
    for images_seen in reversed(there) if wanted.images_seen is None else [wanted.images_seen]:
        try:
            return images_seen, _assembled(artifact, commit_of(artifact, images_seen), {f"{network}/{key}/": 1.0})
        except RayographError as error:
            faults.append(f"{folder_of(images_seen)}: {error}")
    raise CheckpointError(f"{artifact.uri}: expected a whole checkpoint: {'; '.join(faults) or 'there is none'}")


def _solved(
    artifact: Artifact, recipe: Training, network: str, length: float, at: int | None
) -> tuple[int, dict[str, Tensor], dict[str, float]]:
    """Return the average of `length` at `at` images, by default at the newest checkpoint, and what it was mixed of."""
    if not 0 < length < LONGEST_EMA:
        raise ConfigError(f"--length: expected a share of the training between 0 and {LONGEST_EMA}, got {length:g}")
    if not recipe.ema_lengths:
        raise ConfigError("--length: expected a training with ema_lengths, as (0.05, 0.1), this one keeps none")
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
            f"--length: expected one that the snapshots reach, got {length:g}, whose profile the best mixture misses "
            f"by {missed:.0%}: a length nearer to {recipe.ema_lengths}, or snapshots closer together"
        )
    weights: dict[str, Tensor] = {}
    for found in there:
        mine = {
            f"{network}/{average.key}/": share
            for (where, average), share in zip(entries, shares, strict=True)
            if where == found
        }
        for name, values in _assembled(artifact, commits[found], mine).items():
            weights[name] = weights[name] + values if name in weights else values
    named = {f"{found} {average.key}": share for (found, average), share in zip(entries, shares, strict=True)}
    return there[-1], weights, named


def _assembled(artifact: Artifact, commit: dict[str, Any], shares: dict[str, float]) -> dict[str, Tensor]:
    """Sum share × tensor over the keys that `shares` names, by parameter. Raises CheckpointError for a spoilt file."""
    weights: dict[str, Tensor] = {}
    solved = all(f"/{LENGTH}-" in prefix for prefix in shares)
    for file in commit["files"]:
        if solved and not file["path"].rpartition("/")[2].startswith(f"{LENGTH}-"):
            continue
        for piece in pieces_in(checked(artifact, file)):
            for prefix, share in shares.items():
                if piece.name.startswith(prefix):
                    name = piece.name.removeprefix(prefix)
                    if name not in weights:
                        weights[name] = torch.zeros(commit["shapes"][piece.name])
                    flat = weights[name].view(-1)
                    flat[piece.start : piece.start + len(piece.values)] += share * piece.values
    return weights


def _models(stage: StageContext, recipe: Recipe, weights: dict[str, Tensor]) -> Iterator[tuple[str, Any]]:
    if isinstance(recipe, TrainDiffusion):
        learned = learned_data(stage, recipe)
        return diffusion_models(learned.declared, weights, learned.latents)
    return autoencoder_models(recipe, weights)
