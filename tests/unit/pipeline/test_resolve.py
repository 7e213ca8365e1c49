"""Where results go: a changed field moves its stage and what is made from it, and nothing else."""

import pytest
from command import DIGITS
from pydantic import ValidationError

from rayograph.config import Evaluate, Job, Request, Sample, SamplingScale, Scale
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides
from rayograph.errors import ConfigError, DataError
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import needed, resolve
from rayograph.runs.manifest import Manifest
from rayograph.runs.stage_result import StageResult, commit
from rayograph.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def keys(store, *assignments):
    job, scale = apply_overrides(load_job(DIGITS), Scale(), assignments)
    return {name: stage.key for name, stage in resolve(job, scale, store).items()}


def changed(store, *assignments):
    before, after = keys(store), keys(store, *assignments)
    return {name for name in before if before[name] != after[name]}


def descendants(name):
    """The stage and all that is made from it, from the inputs that the stages declare."""
    found = {name}
    for other, stage in load_job(DIGITS).stages.items():
        if found & {getattr(stage, field) for field in stage.inputs}:
            found.add(other)
    return found


@pytest.mark.parametrize(
    "assignment",
    [
        "pack.image_size=16",
        "pack.held_out_fraction=0.3",
        "train_autoencoder.learning_rate=0.5",
        "train_autoencoder.network.latent_channels=4",
        "train_autoencoder.loss.kl_weight=0.5",
        "train_autoencoder.lanes=4",
        "train_autoencoder.perceptual.seed=1",
        "encode.batch_size=3",
        "encode.seed=1",
        "train_diffusion.noise_schedule.beta_end=0.02",
        "train_diffusion.total_images=64",
        "train_diffusion.seed=1",
        "sample.num_samples=3",
        "sample.seed=1",
        "sample.sampler.guidance_scale=3",
        "evaluate.neighbours=4",
    ],
)
def test_a_changed_field_changes_the_keys_of_its_stage_and_its_descendants_only(store, assignment):
    assert changed(store, assignment) == descendants(assignment.partition(".")[0])


def test_descendants_are_what_the_table_of_the_design_says():
    assert descendants("pack") == set(load_job(DIGITS).stages)
    assert descendants("encode") == {"encode", "train_diffusion", "sample", "evaluate"}
    assert descendants("evaluate") == {"evaluate"}


@pytest.mark.parametrize("stage", ["train_autoencoder", "train_diffusion"])
@pytest.mark.parametrize("field", ["log_every_images", "checkpoint_every_images", "keep_checkpoints"])
def test_how_often_one_logs_and_saves_changes_no_key(store, stage, field):
    assert changed(store, f"{stage}.{field}=17") == set()


@pytest.mark.parametrize(
    "assignment",
    [
        "scale.training.workers=8",
        "scale.training.micro_batch_size=4",
        "scale.training.zero_stage=3",
        "scale.store=s3://bucket/a",
        "scale.device=cuda",
        "scale.sampling.replicas=9",
        "scale.ingest.steps_per_task=1",
    ],
)
def test_where_a_job_runs_changes_no_key(store, assignment):
    assert changed(store, assignment) == set()


def test_the_jobs_seed_changes_every_key_but_those_of_stages_with_their_own_seed(store):
    assert changed(store, "seed=1") == set(load_job(DIGITS).stages)
    pinned = keys(store, "pack.seed=0", "seed=1")
    assert pinned["pack"] == keys(store)["pack"]
    assert pinned["train_autoencoder"] != keys(store)["train_autoencoder"]


def test_a_seed_written_out_is_the_same_as_the_jobs_seed(store):
    assert changed(store, "sample.seed=0") == set()


def test_every_stage_has_a_folder_of_its_own_below_job_and_stage(store):
    stages = resolve(load_job(DIGITS), Scale(), store)
    paths = [stage.artifact.path for stage in stages.values()]
    assert paths == [f"digits/{name}/{stage.key}" for name, stage in stages.items()]
    assert len({stage.key for stage in stages.values()}) == len(stages)
    assert list(stages) == list(load_job(DIGITS).stages)


def test_inputs_are_the_places_of_the_stages_named(store):
    stages = resolve(load_job(DIGITS), Scale(), store)
    evaluate = stages["evaluate"]
    assert evaluate.inputs == {
        "images": stages["pack"].artifact,
        "autoencoder": stages["train_autoencoder"].artifact,
        "model": stages["train_diffusion"].artifact,
        "samples": stages["sample"].artifact,
    }


def test_keys_do_not_depend_on_the_store_or_on_the_stages_beside(store, tmp_path):
    job = load_job(DIGITS)
    alone = Job(name="other", stages={name: job.stages[name] for name in ("pack", "train_autoencoder")})
    elsewhere = resolve(alone, Scale(), open_store(str(tmp_path / "elsewhere")))
    assert {name: stage.key for name, stage in elsewhere.items()} == {name: keys(store)[name] for name in elsewhere}


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("pack", ["pack"]),
        ("encode", ["pack", "train_autoencoder", "encode"]),
        ("sample", ["pack", "train_autoencoder", "encode", "train_diffusion", "sample"]),
        ("evaluate", ["pack", "train_autoencoder", "encode", "train_diffusion", "sample", "evaluate"]),
    ],
)
def test_a_target_needs_itself_and_its_ancestors_in_the_jobs_order(target, wanted):
    assert needed(load_job(DIGITS), target) == wanted


def committed(store, name="train_diffusion", content=b"weights"):
    """A digits stage with every ancestor, committed."""
    stages = resolve(load_job(DIGITS), Scale(), store)
    for ancestor in needed(load_job(DIGITS), name):
        stage = stages[ancestor]
        files = [stage.artifact.write("content", content + ancestor.encode())]
        commit(stage, StageResult(files=files), 0.0)
    return stages[name]


def job_from(model):
    return Job(name="more", stages={"sample": Sample(num_samples=1, model=model)})


def test_a_committed_artifact_elsewhere_serves_as_an_input(store, tmp_path):
    made = committed(store)
    stage = resolve(job_from(made.artifact.uri), Scale(), open_store(str(tmp_path / "mine")))["sample"]
    artifact, manifest = stage.input("model")
    assert artifact.uri == made.artifact.uri
    assert manifest == made.artifact.committed()
    (parent,) = stage.parents()
    assert (parent.input, parent.uri, parent.digest) == ("model", made.artifact.uri, manifest.digest)


def test_the_key_follows_an_outside_artifacts_content_not_its_place(tmp_path):
    first, copy, other = (
        committed(open_store(str(tmp_path / name)), content=content)
        for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two"))
    )
    found = [
        resolve(job_from(stage.artifact.uri), Scale(), open_store(str(tmp_path / "mine")))["sample"].key
        for stage in (first, copy, other)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_an_outside_artifact_that_is_not_committed_is_refused_with_the_field(store):
    with pytest.raises(DataError, match=r"sample\.model: expected a committed artifact of diffusion_model at .*none"):
        resolve(job_from(f"{store.uri}/nowhere"), Scale(), store)


def test_an_outside_artifact_of_another_type_is_refused_with_the_field(store):
    place = committed(store, "encode").artifact.uri
    with pytest.raises(DataError, match=r"sample\.model: .* found one of latents"):
        resolve(job_from(place), Scale(), store)


def test_an_input_that_is_not_committed_cannot_be_a_parent(store):
    stage = resolve(load_job(DIGITS), Scale(), store)["encode"]
    with pytest.raises(DataError, match="expected a committed artifact"):
        stage.parents()


def test_a_commit_tells_the_job_the_scale_the_parents_and_every_figure(store):
    for name in ("pack", "train_autoencoder"):
        committed(store, name)
    stage = resolve(load_job(DIGITS), Scale(), store)["encode"]
    stage.artifact.write("metrics.jsonl", b'{"images_seen": 1}\n')
    files = [stage.artifact.write("content", b"moments")]
    manifest = commit(stage, StageResult(files=files, facts={"latent_mean": [0.5]}), 0.0)
    assert manifest == stage.artifact.committed()
    assert Job.model_validate(manifest.config) == stage.job
    assert Scale.model_validate(manifest.scale) == stage.scale
    assert {p.input: p.digest for p in manifest.parents} == {
        field: artifact.committed().digest for field, artifact in stage.inputs.items()
    }
    assert [file.path for file in manifest.files] == ["content", "metrics.jsonl"]
    assert manifest.facts == {"latent_mean": [0.5]}
    assert (manifest.key, manifest.kind, manifest.seed) == (stage.key, "encode", 0)
    assert list(stage.artifact.problems(manifest)) == []


def test_a_manifests_stored_job_leads_to_the_same_keys(store):
    manifest = committed(store).artifact.committed()
    again = Manifest.model_validate_json(manifest.model_dump_json())
    resolved = resolve(Job.model_validate(again.config), Scale.model_validate(again.scale), store)
    assert resolved[manifest.stage].key == manifest.key


def test_a_stage_may_mix_inputs_from_inside_and_outside(store, tmp_path):
    model = committed(store)
    pack, autoencoder = (
        resolve(load_job(DIGITS), Scale(), store)[n].artifact.uri for n in ("pack", "train_autoencoder")
    )
    job = Job(
        name="mixed",
        stages={
            "sample": Sample(num_samples=1, model=model.artifact.uri),
            "evaluate": Evaluate(images=pack, autoencoder=autoencoder, model=model.artifact.uri),
        },
    )
    stages = resolve(job, Scale(), open_store(str(tmp_path / "mine")))
    assert stages["evaluate"].inputs["samples"] == stages["sample"].artifact
    assert stages["evaluate"].inputs["images"].uri == pack
    assert needed(job, "evaluate") == ["sample", "evaluate"]


def asking(tmp_path, text, **fields):
    """The digits job with a request of this text instead of a number of samples."""
    path = tmp_path / "request.csv"
    path.write_text(text)
    job = load_job(DIGITS)
    stage = Sample(request=Request(uri=str(path)), sampler=job.stages["sample"].sampler, **fields)
    return job.model_copy(update={"stages": job.stages | {"sample": stage}})


def test_a_good_request_passes_before_the_model_that_will_draw_it_is_trained(tmp_path):
    job = asking(tmp_path, "class,count\n0,3\nnine,1\n")  # a name: the data is not packed yet
    check(job, Scale(), list(job.stages))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class,count\n0,3\n10,1\n", r"request\.csv row 1: class: expected a class from 0 to 9, got '10'"),
        ("class,width\n0,33\n", r"request\.csv row 0: width: expected a multiple of \d+, got 33"),
        ("class,num_inference_steps\n0,100000\n", "row 0: num_inference_steps: expected a whole number from 1 to"),
        ("class,cuont\n0,1\n", "column 'cuont': not known; did you mean 'count'"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_trained_for_it(tmp_path, text, said):
    job = asking(tmp_path, text)
    with pytest.raises(DataError, match=said):
        check(job, Scale(), list(job.stages))
    check(job, Scale(), ["pack", "train_autoencoder"])


def test_more_steps_than_the_model_to_be_trained_has_are_refused_with_the_field():
    job, scale = apply_overrides(load_job(DIGITS), Scale(), ["sample.sampler.num_inference_steps=1001"])
    with pytest.raises(ConfigError, match=r"sample\.sampler\.num_inference_steps: expected at most 1000, the model's"):
        check(job, scale, list(job.stages))


@pytest.mark.parametrize("files", [[], ["certificate"], ["private_key"]])
def test_credentials_without_both_files_are_refused_with_the_field(files):
    given = [f"scale.sampling.{name}_file=/somewhere" for name in files]
    job, scale = apply_overrides(load_job(DIGITS), Scale(), ["sample.marking.credentials=true", *given])
    with pytest.raises(ConfigError, match=r"sample\.marking\.credentials: expected sampling\.certificate_file and"):
        check(job, scale, list(job.stages))


@pytest.mark.parametrize("given", [(3, (3, 3)), ([0, 4], (0, 4)), ([2, 2], (2, 2))])
def test_replicas_are_a_number_or_a_range_that_may_begin_at_none(given):
    said, found = given
    assert SamplingScale(replicas=said).replicas == found


@pytest.mark.parametrize("given", [0, -1, [0, 0], [3, 2], [1, 2, 3], "2"])
def test_other_replicas_are_refused(given):
    with pytest.raises(ValidationError, match="expected a number above 0, or the fewest and the most"):
        SamplingScale(replicas=given)


@pytest.mark.parametrize("given", [{}, {"num_samples": 3, "request": Request(uri="r.csv")}])
def test_a_generation_has_a_number_of_samples_or_a_request(given):
    with pytest.raises(ValidationError, match="num_samples: expected either this or request, got"):
        Sample(**given)
