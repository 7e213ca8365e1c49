"""Declarations, job files, scale profiles and `--set`: what is wrong is said in one line that names the field."""

import subprocess
import sys

import pytest
import yaml
from command import DIGITS, ROOT
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rayograph.config import (
    Autoencoder,
    Denoiser,
    Encode,
    ImageFolder,
    Job,
    Pack,
    Sample,
    Scale,
    SklearnDigits,
    TrainAutoencoder,
    TrainDiffusion,
)
from rayograph.config.reading.explain import suggestion
from rayograph.config.reading.files import load_job, load_scale
from rayograph.config.reading.overrides import apply_overrides
from rayograph.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    return load_job(DIGITS)


def pack(**changes):
    return Pack(source=SklearnDigits(), image_size=32, **changes)


def autoencoder(**changes):
    return TrainAutoencoder(**{"network": Autoencoder(), "total_images": 100, "global_batch_size": 8} | changes)


def refusal(job, *assignments, scale=None):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(job, scale or Scale(), assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_decoding_an_encoded_job_gives_the_job(digits):
    assert Job.model_validate(digits.model_dump(mode="json")) == digits
    assert Job.model_validate_json(digits.model_dump_json()) == digits
    assert Job.model_validate(yaml.safe_load(yaml.safe_dump(digits.model_dump(mode="json"), sort_keys=False))) == digits


def test_decoding_an_encoded_scale_gives_the_scale():
    for path in ROOT.glob("cluster/*/scale*.yaml"):
        scale = load_scale(str(path))
        assert Scale.model_validate(yaml.safe_load(yaml.safe_dump(scale.model_dump(mode="json")))) == scale


def test_the_laptops_profile_is_the_one_used_without_a_profile():
    assert load_scale(str(ROOT / "cluster" / "laptop" / "scale.yaml")) == load_scale(None)


def test_a_union_member_comes_back_as_itself():
    job = Job(name="j", stages={"pack": Pack(source=ImageFolder(uri="/images", class_per_folder=True), image_size=8)})
    assert Job.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize("change", [("seed", 1), ("name", "other"), ("stages", {}), ("new_field", 1)])
def test_a_job_cannot_be_changed(digits, change):
    with pytest.raises(ValidationError):
        setattr(digits, *change)


def test_a_stage_and_what_is_inside_it_cannot_be_changed(digits):
    stage = digits.stages["train_autoencoder"]
    for owner, name in ((stage, "learning_rate"), (stage.network, "latent_channels"), (stage.loss, "kl_weight")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(owner, name, 1)


@pytest.mark.parametrize("make", [lambda: pack(image_siz=1), lambda: autoencoder(losss=1), lambda: Scale(stor="x")])
def test_an_unknown_field_is_refused_where_it_is_declared(make):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        make()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_some_generator_would_refuse_is_refused_at_once(seed):
    for make in (lambda: Job(name="j", seed=seed, stages={}), lambda: pack(seed=seed)):
        with pytest.raises(ValidationError, match="seed"):
            make()


def test_seed_zero_of_a_stage_is_not_the_jobs_seed():
    job = Job(name="j", seed=7, stages={"a": pack(seed=0), "b": pack()})
    assert (job.seed_of("a"), job.seed_of("b")) == (0, 7)


@pytest.mark.parametrize("lanes", [3, 5, 16])
def test_lanes_must_divide_the_global_batch(lanes):
    with pytest.raises(ValidationError, match=f"lanes: expected a divisor of global_batch_size 8, got {lanes}"):
        autoencoder(lanes=lanes)


@given(batch=st.integers(1, 512), images=st.integers(1, 10**6))
def test_the_steps_of_a_training_cover_its_images_with_the_last_one_whole(batch, images):
    training = autoencoder(lanes=1, global_batch_size=batch, total_images=images)
    assert (training.total_steps - 1) * batch < images <= training.total_steps * batch


@pytest.mark.parametrize("level", [-1, 2])
def test_attention_is_refused_at_a_level_that_is_not_there(level):
    with pytest.raises(ValidationError, match=f"attention_levels: expected 0 to 1, got {level}"):
        Denoiser(block_out_channels=(32, 64), attention_levels=(level,))


def test_the_downsampling_factor_is_two_to_the_number_of_halvings():
    assert [Autoencoder(block_out_channels=(32,) * n).downsampling_factor for n in (1, 2, 3, 4)] == [1, 2, 4, 8]


def test_an_input_that_no_stage_makes_is_refused_with_the_stages_there_are():
    message = r"encode\.images: expected an earlier stage \(data, ae\) or an artifact's URI, got 'dta'"
    with pytest.raises(ValidationError, match=message):
        Job(
            name="j",
            stages={
                "data": pack(),
                "ae": autoencoder(images="data"),
                "encode": Encode(images="dta", autoencoder="ae"),
            },
        )


def test_an_input_from_a_later_stage_is_refused():
    with pytest.raises(ValidationError, match=r"ae\.images: expected an earlier stage \(none\)"):
        Job(name="j", stages={"ae": autoencoder(), "pack": pack()})


def test_an_input_of_the_wrong_kind_is_refused():
    with pytest.raises(
        ValidationError, match=r"sample\.model: expected a stage that makes diffusion_model, got 'pack'"
    ):
        Job(name="j", stages={"pack": pack(), "sample": Sample(num_samples=1, model="pack")})


def test_an_artifact_elsewhere_may_stand_for_an_input():
    job = Job(name="j", stages={"sample": Sample(num_samples=1, model="s3://bucket/models/abc")})
    assert job.stages["sample"].model == "s3://bucket/models/abc"


@pytest.mark.parametrize("name", ["Digits", "a b", "a/b", "", "../x", "-x", "é"])
def test_names_that_would_not_make_a_folder_everywhere_are_refused(name):
    for make in (lambda: Job(name=name, stages={}), lambda: Job(name="j", stages={name: pack()})):
        with pytest.raises(ValidationError, match="expected lower-case letters, digits"):
            make()


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("train_diffusion.learning_rate=1e-3", "train_diffusion.learning_rate", 1e-3),
        ("train_diffusion.network.attention_levels=[0, 1]", "train_diffusion.network.attention_levels", (0, 1)),
        ("train_diffusion.gradient_clipping=null", "train_diffusion.gradient_clipping", None),
        ("train_diffusion.network.num_classes=3", "train_diffusion.network.num_classes", 3),
        ("sample.sampler.guidance_scale=3", "sample.sampler.guidance_scale", 3.0),
        ("sample.seed=0", "sample.seed", 0),
        ("sample.seed=null", "sample.seed", None),
        ("pack.source={kind: image_folder, uri: /photos}", "pack.source", ImageFolder(uri="/photos")),
    ],
)
def test_an_override_changes_its_field_and_no_other(digits, assignment, path, value):
    job, scale = apply_overrides(digits, Scale(), [assignment])
    stage, *fields = path.split(".")
    found = job.stages[stage]
    for field in fields:
        found = getattr(found, field)
    assert found == value
    assert scale == Scale()
    before, after = digits.model_dump(), job.model_dump()
    for dump in (before, after):
        inner = dump["stages"][stage]
        for field in fields[:-1]:
            inner = inner[field]
        inner.pop(fields[-1])
    assert before == after


def test_an_override_leaves_the_original_as_it_was(digits):
    before = digits.model_dump()
    apply_overrides(digits, Scale(), ["sample.num_samples=3", "seed=9"])
    assert digits.model_dump() == before


def test_the_seed_and_the_scale_can_be_overridden(digits):
    job, scale = apply_overrides(digits, Scale(), ["seed=41", "scale.training.workers=4", "scale.store=s3://b/c"])
    assert job == Job(name=digits.name, seed=41, stages=digits.stages)
    assert scale.training.workers == (4, 4)
    assert scale.store == "s3://b/c"
    assert scale.model_copy(update={"store": Scale().store, "training": Scale().training}) == Scale()


def test_of_two_overrides_of_one_field_the_later_stands(digits):
    job, _ = apply_overrides(digits, Scale(), ["sample.num_samples=3", "sample.num_samples=5"])
    assert job.stages["sample"].num_samples == 5


@pytest.mark.parametrize("order", [1, -1])
def test_fields_that_only_go_together_are_set_one_by_one_in_any_order(digits, order):
    together = [
        "train_diffusion.network.norm_num_groups=24",
        "train_diffusion.network.block_out_channels=[24, 48]",
        "train_diffusion.network.attention_levels=[]",
        "train_diffusion.network.attention_head_dim=12",
    ]
    with pytest.raises(ConfigError, match="norm_num_groups"):
        apply_overrides(digits, Scale(), together[:1])
    job, _ = apply_overrides(digits, Scale(), together[::order])
    assert job.stages["train_diffusion"].network.block_out_channels == (24, 48)


def test_an_override_within_another_changes_what_that_one_says(digits):
    said = ["pack.source={kind: image_folder, uri: /photos}", "pack.source.class_per_folder=true"]
    assert apply_overrides(digits, Scale(), said)[0].stages["pack"].source == ImageFolder(
        uri="/photos", class_per_folder=True
    )


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("0o10", 8), ("0x10", 16), ("1e2", 100), ("'7'", 7), ("12.0", 12)]
)
def test_overrides_are_yaml_1_2(digits, text, value):
    job, _ = apply_overrides(digits, Scale(), [f"sample.num_samples={text}"])
    assert job.stages["sample"].num_samples == value


@pytest.mark.parametrize("text", ["", " ", "# 3", "1:30", "yes", "true", ".nan", ".inf", "1" * 30, "[3, ]"])
def test_what_yaml_1_2_calls_no_number_is_none(digits, text):
    with pytest.raises(ConfigError, match=r"num_samples: expected|sample\.num_samples"):
        apply_overrides(digits, Scale(), [f"sample.num_samples={text}"])


def test_profiles_are_yaml_1_2_and_say_every_field_once(tmp_path):
    profile = tmp_path / "scale.yaml"
    profile.write_text("training: {workers: 010}\nwandb_project: no\nstore: 1:30\n")
    scale = load_scale(str(profile))
    assert (scale.training.workers, scale.wandb_project, scale.store) == ((10, 10), "no", "1:30")
    for text, line in [
        ("store: a\nstore: b\n", "expected the key 'store' once"),
        ("sampling: {idle_seconds: .inf}", "sampling.idle_seconds: expected a number above 0"),
        ("sampling: {price_per_hour: 1e300}", "sampling.price_per_hour: expected a number above 0"),
        ("training: {workers: true}", "training: workers: expected no truth value"),
    ]:
        profile.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_scale(str(profile))
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "field", "hint"),
    [
        ("train_diffusion.learning_rat=1e-3", "train_diffusion.learning_rat", "did you mean 'learning_rate'?"),
        ("train_diffusion.network.num_clases=3", "train_diffusion.network.num_clases", "did you mean 'num_classes'?"),
        ("sample.guidance_scale=2", "sample.guidance_scale", "did you mean 'sampler.guidance_scale'?"),
        ("sampel.num_samples=2", "sampel.num_samples", "did you mean 'sample'?"),
        ("scale.training.worker=2", "scale.training.worker", "did you mean 'workers'?"),
        ("sede=1", "sede", "did you mean 'seed'?"),
        ("nothing_like_it.x=1", "nothing_like_it.x", "known: encode, evaluate, pack, sample, scale, seed"),
        ("encode.images=pakc", "encode.images", "got 'pakc'"),
        ("encode.images=train_autoencoder", "encode.images", "expected a stage that makes images"),
        ("sample.num_samples=many", "sample.num_samples", "got 'many'"),
        ("sample.num_samples=0", "sample.num_samples", "expected a whole number above 0, up to 10,000,000,000, got 0"),
        ("train_diffusion.lanes=7", "train_diffusion", "lanes: expected a divisor of global_batch_size 64, got 7"),
        ("pack.source.uri=/photos", "pack.source.uri", "no such field"),
        ("pack.source={kind: image_folder, url: /photos}", "pack.source.url", "did you mean 'uri'?"),
        ("sample.num_samples.x=1", "sample.num_samples", "has no field 'x'; it is 1000"),
        ("sample.num_samples=[1", "sample.num_samples", "expected a YAML value"),
        ("sample.num_samples", "sample.num_samples", "expected stage.field=value"),
        ("=3", "=3", "expected stage.field=value"),
        ("seed=-1", "seed", "expected a whole number from 0 to below 18,446,744,073,709,551,616, got -1"),
        ("seed=abc", "seed", "got 'abc'"),
        ("scale.device=tpu", "scale.device", "got 'tpu'"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_with_its_field_and_what_to_write_instead(
    digits, assignment, field, hint
):
    message = refusal(digits, assignment)
    assert field in message
    assert hint in message


@pytest.mark.parametrize("assignment", ["pack=3", "scale=3"])
def test_assigning_to_a_whole_stage_is_refused_without_suggesting_the_same_again(digits, assignment):
    message = refusal(digits, assignment)
    assert "did you mean" not in message
    assert f"{assignment.partition('=')[0]}.field=value" in message


def test_an_override_cannot_run_code(digits):
    assert "expected a YAML value" in refusal(digits, "sample.seed=!!python/object/apply:os.getpid []")


def test_a_suggestion_is_the_shallowest_of_fields_of_that_name():
    assert suggestion("seedd", ["perceptual.seed", "seed"]) == "; did you mean 'seed'?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job = 3", "expected a variable `job` holding a Job, got int"),
        ("", "expected a variable `job` holding a Job, got NoneType"),
        ("job = (", "SyntaxError"),
        ("import rayograph.confgi", "No module named 'rayograph.confgi'"),
        ("from rayograph.config import Jbo", "cannot import name 'Jbo'"),
        ("job = Job()", "name 'Job' is not defined"),
        (
            "from rayograph.config import *\nPack(source=SklearnDigits(), image_siz=3)",
            "Pack.image_siz: no such field; did you mean 'image_size'?",
        ),
        (
            "from rayograph.config import *\nJob(name='j', stages={'e': Encode()})",
            "e.images: expected an earlier stage (none)",
        ),
    ],
)
def test_a_wrong_job_file_is_refused_in_one_line_with_its_path(tmp_path, text, said):
    file = tmp_path / "job.py"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_job(str(file))
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", [load_job, load_scale])
@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_is_not_there_is_refused_with_an_example(tmp_path, load, name):
    with pytest.raises(ConfigError, match=r"expected a (job file|scale profile) such as (jobs|cluster)/.*, found none"):
        load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"training: {worker: 3}", "training.worker: no such field; did you mean 'workers'?"),
        (b"trainings: {}", "trainings: no such field; did you mean 'training'?"),
        (b"training: {zero_stage: 4}", "training.zero_stage: input should be 0, 1, 2, 3 or 'auto', got 4"),
        (b"training: 3", "training: input should be a valid dictionary"),
        (b"[1, 2]", "input should be a valid dictionary"),
        (b"a: [", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"!!python/object/apply:os.getpid []", "not YAML"),
    ],
)
def test_a_wrong_scale_profile_is_refused_in_one_line_with_its_path_and_field(tmp_path, content, said):
    file = tmp_path / "scale.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_scale(str(file))
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_scale_profile_is_the_built_in_one(tmp_path):
    (tmp_path / "scale.yaml").write_text("# nothing\n")
    assert load_scale(str(tmp_path / "scale.yaml")) == Scale()


def test_a_job_file_imports_nothing_heavy():
    program = (
        "import sys; from rayograph.config.reading.files import load_job; "
        f"assert load_job({DIGITS!r}).stages; "
        "print(sorted({'torch', 'ray', 'diffusers', 'deepspeed', 'numpy', 'wandb', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_every_job_file_of_the_repository_loads_under_its_own_name():
    for path in sorted((ROOT / "jobs").glob("*.py")):
        job = load_job(str(path))
        assert job.name.replace("-", "_") == path.stem
        assert any(isinstance(stage, TrainDiffusion | TrainAutoencoder) for stage in job.stages.values())
