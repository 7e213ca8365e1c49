"""encode: image shards to moments shards (ingest/latent_encoder.py), by a pool of Ray Data actors."""

from collections.abc import Callable
from functools import partial
from typing import cast

from rayograph.config import Encode
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.resources import require_pool
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import TRAIN
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.shards.committed import Shards
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import shard_files
from rayograph.stages.stage import CheckContext, Foreseen, Stage


class EncodeStage(Stage[Encode]):
    """Images and the first stage to latents."""

    def check(self, declared: Encode, context: CheckContext) -> None:
        """Raise ConfigError for a size that the autoencoder's factor does not divide."""
        size, factor = declared.image_size, context.input("autoencoder").downsampling_factor
        if size is not None and factor is not None and size % factor:
            raise ConfigError(
                f"{context.name}.image_size: f = {factor} needs an image size divisible by it, got {size}"
            )

    def foresee(self, declared: Encode, context: CheckContext) -> Foreseen:
        """The classes of the images, and the size that they are encoded at."""
        return Foreseen(
            image_size=declared.image_size or context.input("autoencoder").image_size,
            class_names=context.input("images").class_names,
            held_out=False,
            decided_by=context.name,
        )

    def check_cluster(self, declared: Encode, context: StageContext) -> None:
        """Require room for the pool of encoders."""
        require_pool(context)

    def run(self, declared: Encode, context: StageContext) -> StageResult:
        """Encode what is not encoded yet."""
        return run_encode(context, declared)


def run_encode(stage: StageContext, declared: Encode) -> StageResult:
    """Encode the training split; facts are the latents' statistics, the classes' names, and what was left out.

    Raises DataError once more samples are left out than `bad_sample_limit`, naming the first with its shard and key.
    """
    from rayograph.ingest.images.decoding import require_few
    from rayograph.ingest.latent_encoder import LatentFacts, normalisation
    from rayograph.ingest.streams import each_with

    images, packed = stage.input("images")
    autoencoder, trained = stage.input("autoencoder")
    size = declared.image_size or trained.facts["image_size"]
    scale = stage.scale
    pool = scale.encode
    shards = packed.split(TRAIN)
    require_pool(stage)

    worker = partial(
        _encoder,
        Shards.of(images, packed, shards, scale.access),
        autoencoder,
        stage.artifact,
        size,
        declared.batch_size,
        stage.seed,
        scale.device,
        pool.threads_per_actor,
        declared.bad_sample_limit,
    )
    outcome = StageResult()
    facts: list[LatentFacts] = []
    rejected: list[dict[str, str]] = []
    total = sum(shard.samples for shard in shards)
    with Reporter(stage, "images", total, at_once=min(pool.actors, len(shards))) as recorder:
        names = [shard.path for shard in shards]
        done = each_with(names, worker, cpus=pool.cpus_per_actor, gpus=scale.gpus, actors=pool.actors)
        for shard, data in zip(shards, done, strict=True):
            index = ShardIndex.from_bytes(data, shard.path)
            outcome.add_shard(*shard_files(stage.artifact, shard.path, TRAIN, index))
            facts.append(cast(LatentFacts, index.facts))
            for row in index.rejected:
                recorder.progress.say(f"left out: {row['reason']}")
                rejected.append(row)
            require_few(rejected, declared.bad_sample_limit)
            recorder.progress.advance_to(recorder.progress.done + shard.samples)
    facts = [fact for fact in facts if fact["places"]]
    if not facts:
        raise DataError(f"{images.uri}: expected images in the {TRAIN} split, got none that can be decoded")
    found = normalisation(facts)
    outcome.facts = {name: packed.facts[name] for name in ("box_labels",) if name in packed.facts} | {
        "rejected": rejected,
        "class_names": packed.facts["class_names"],
        "latent_shape": facts[0]["latent_shape"],
        "latent_mean": list(found.mean),
        "latent_std": list(found.std),
    }
    return outcome


def _encoder(
    images: Shards,
    autoencoder: Artifact,
    target: Artifact,
    size: int,
    batch_size: int,
    seed: int,
    device: str,
    threads: int,
    bad_sample_limit: int,
) -> Callable[[str], bytes]:
    import torch

    from rayograph.ingest.latent_encoder import ShardEncoder

    torch.set_num_threads(threads)
    encoder = ShardEncoder(images, autoencoder, target, size, batch_size, seed, device, bad_sample_limit)
    return lambda name: encoder(name).to_bytes()
