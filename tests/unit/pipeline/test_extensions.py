"""Kinds from outside the package: known where they are brought, refused by name where they are not."""

import sys
from functools import partial
from typing import ClassVar, Literal

import pytest
import yaml

from rayograph.commands.artifact_listing import list_artifacts
from rayograph.config import Scale, extensions
from rayograph.config.job.stages import STAGES
from rayograph.config.kinds import Kind, Kinds
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides
from rayograph.errors import ConfigError, DataError
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import RESOLVED
from rayograph.runs.job_record import read_job
from rayograph.storage import open_store

MODULE = """
from typing import ClassVar, Literal
from rayograph.config.stage_base import ArtifactRef, ArtifactType, StageBase
from rayograph.config.job.stages import STAGES
from rayograph.stages.stage import Stage
from blurring_by import RADIUS

class BlurStage(Stage["Blur"]):
    def run(self, declared, context):
        raise NotImplementedError

@STAGES.register
class Blur(StageBase):
    inputs: ClassVar[dict[str, ArtifactType]] = {"images": ArtifactType.IMAGES}
    output: ClassVar[ArtifactType] = ArtifactType.IMAGES
    implemented_by: ClassVar[str] = "blurring:BlurStage"
    kind: Literal["blur"] = "blur"
    images: ArtifactRef = "pack"
    radius: int = RADIUS
"""
JOB = """
from rayograph.config import Job, Pack, SklearnDigits
from blurring import Blur
job = Job(name="j", stages={"pack": Pack(source=SklearnDigits(), image_size=8), "blur": Blur(radius=3)})
"""


@pytest.fixture
def job_file(tmp_path, monkeypatch):
    monkeypatch.setattr(STAGES, "_known", dict(STAGES._known))
    (tmp_path / "blurring.py").write_text(MODULE)
    (tmp_path / "blurring_by.py").write_text("RADIUS = 1\n")
    (tmp_path / "job.py").write_text(JOB)
    yield tmp_path / "job.py"
    extensions.forget()


def test_a_registered_kind_is_read_set_and_shown_like_one_of_ours(job_file):
    job, scale = apply_overrides(load_job(str(job_file)), Scale(), ["blur.radius=5"])
    assert job.stages["blur"].radius == 5
    assert job.model_dump(mode="json")["stages"]["blur"]["kind"] == "blur"
    with pytest.raises(ConfigError, match=r"blur\.radios: no such field; did you mean 'radius'"):
        apply_overrides(job, scale, ["blur.radios=5"])


def test_what_its_fields_say_decides_its_key(job_file, tmp_path):
    job, store = load_job(str(job_file)), open_store(str(tmp_path / "store"))
    keys = [
        resolve(apply_overrides(job, Scale(), said)[0], Scale(), store)["blur"].key
        for said in ([], ["blur.radius=3"], ["blur.radius=4"])
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_module_and_what_it_imports_from_its_folder_go_to_the_workers(job_file):
    load_job(str(job_file))
    assert sorted(extensions.names()) == ["blurring", "blurring_by"]
    assert {file.name for file in extensions.files()} == {"blurring.py", "blurring_by.py"}
    assert "blurring" in sys.modules


def test_another_jobs_modules_of_the_same_names_never_stand_for_them(job_file, tmp_path):
    load_job(str(job_file))
    other = tmp_path / "other"
    other.mkdir()
    (other / "blurring.py").write_text(MODULE.replace("from blurring_by import RADIUS", "RADIUS = 7"))
    (other / "job.py").write_text(JOB.replace("radius=3", ""))
    assert load_job(str(other / "job.py")).stages["blur"].radius == 7
    assert extensions.names() == ["blurring"]


def test_modules_that_register_nothing_do_not_stay(tmp_path):
    (tmp_path / "numbers_of_mine.py").write_text("SIZE = 8\n")
    (tmp_path / "job.py").write_text(
        "from numbers_of_mine import SIZE\nfrom rayograph.config import Job, Pack, SklearnDigits\n"
        "job = Job(name='j', stages={'pack': Pack(source=SklearnDigits(), image_size=SIZE)})\n"
    )
    load_job(str(tmp_path / "job.py"))
    assert extensions.names() == []
    assert "numbers_of_mine" not in sys.modules


def test_a_kind_that_the_job_file_itself_defines_is_refused(job_file):
    own = MODULE.replace("from blurring_by import RADIUS", "RADIUS = 1").replace('"blur"', '"own_blur"')
    job_file.write_text(own + JOB.replace("from blurring import Blur", ""))
    with pytest.raises(ConfigError, match=r"job\.py: expected kinds in a module beside the job file"):
        load_job(str(job_file))


def test_an_artifact_of_a_kind_that_is_not_here_is_refused_by_name_and_hides_no_other(job_file, tmp_path):
    job = load_job(str(job_file))
    store = open_store(str(tmp_path / "store"))
    for stage in resolve(job, Scale(), store).values():
        record = yaml.safe_load(stage.described())
        if stage.name == "blur":
            record["job"]["stages"]["blur"]["kind"] = "blurred"
        stage.artifact.write(RESOLVED, yaml.safe_dump(record).encode())
    foreign = resolve(job, Scale(), store)["blur"].artifact
    with pytest.raises(DataError, match=r"stages\.blur\.kind: expected one of 'blur', .* got 'blurred'"):
        read_job(foreign)
    lines = "\n".join(list_artifacts(store))
    assert "j/pack/" in lines
    assert "got 'blurred'" in lines


def test_the_environment_names_modules_for_commands_without_a_job_file(job_file, monkeypatch):
    extensions.load.cache_clear()
    monkeypatch.setattr(extensions, "_installed", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(extensions.VARIABLE, str(job_file.with_name("blurring.py")))
    assert STAGES.declaration("blur").__name__ == "Blur"
    assert extensions.names() == ["blurring"]
    for name in ("blurring", "blurring_by"):
        sys.modules.pop(name, None)
    extensions.load.cache_clear()
    monkeypatch.setenv(extensions.VARIABLE, "colorsys")
    STAGES.names()
    assert (extensions.names(), len(extensions.files())) == (["blurring", "colorsys"], 1)
    extensions.load.cache_clear()
    monkeypatch.setenv(extensions.VARIABLE, "no_such_module_of_ours")
    with pytest.raises(ConfigError, match="RAYOGRAPH_EXTENSIONS: no_such_module_of_ours cannot be imported"):
        STAGES.declaration("another")
    extensions.load.cache_clear()


def test_a_name_that_is_taken_is_refused():
    class Base(Kind):
        pass

    class First(Base):
        kind: Literal["one"] = "one"

    class Other(Base):
        implemented_by: ClassVar[str | type] = ""
        kind: Literal["one"] = "one"

    kinds = Kinds("things", {"two": "nowhere:Two"})
    assert kinds.register(First) is First
    for taken in (Other, type("Two", (Base,), {"__annotations__": {"kind": Literal["two"]}, "kind": "two"})):
        with pytest.raises(ValueError, match=r"things: kind '.*' is there already"):
            partial(kinds.register, taken)()
    assert kinds.names() == ["one", "two"]
