"""An artifact opened from Python as a Ray data set."""

from pathlib import Path

import opened
import pytest
import s3_servers

import rayograph
from rayograph.config import FilterImages, Job, Scale
from rayograph.errors import DataError
from rayograph.pipeline.runner import run_job
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_split_is_a_ray_data_set_of_a_row_a_sample(tmp_path: Path) -> None:
    artifact = rayograph.open(opened.committed(open_store(str(tmp_path))))
    for split in artifact.splits:
        rows = artifact.ray_data(split).take_all()
        found = {row.pop("key"): {name: data for name, data in row.items() if data is not None} for row in rows}
        assert len(found) == len(rows)
        assert found == opened.read_as(split)


def test_ray_datas_own_steps_follow_from_a_bucket_too(moto_s3: s3_servers.S3Server) -> None:
    uri = opened.committed(open_store(f"{moto_s3.new_bucket()}/store", moto_s3.endpoint_url))
    data = rayograph.open(uri, moto_s3.endpoint_url).ray_data()
    sizes = data.map(lambda row: {"bytes": len(row["png"])}).sum("bytes")
    assert sizes == sum(len(members["png"]) for members in opened.read_as("train").values())
    batch = next(iter(data.iter_batches(batch_size=1000, batch_format="pyarrow")))
    assert set(batch.column_names) == {"key", "png", "cls", "txt", "mask.png"}
    assert batch["key"].null_count == 0


def test_of_a_filtered_set_exactly_what_stays_is_there_both_ways(scale: Scale, tmp_path: Path) -> None:
    ones = FilterImages(images=opened.committed(open_store(str(tmp_path))), classes=("one",))
    job = Job(name="filtered", stages={"ones": ones})
    artifact = rayograph.open(run_job(job, scale.model_copy(update={"store": str(tmp_path)}), None))
    assert artifact.splits == ["held_out", "train"]
    for split in artifact.splits:
        stays = {key: members for key, members in opened.read_as(split).items() if members.get("cls") == b"1"}
        assert 0 < len(stays) < len(opened.read_as("train"))
        rows = artifact.ray_data(split).take_all()
        assert {row["key"]: {"png": row["png"], "cls": row["cls"]} for row in rows} == stays
        samples = [dict(sample) for sample in artifact.webdataset(split)]
        assert {sample["__key__"]: {"png": sample["png"], "cls": sample["cls"]} for sample in samples} == stays
        assert len(rows) == len(samples) == len(stays)


def test_a_split_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    artifact = rayograph.open(opened.committed(open_store(str(tmp_path))))
    with pytest.raises(DataError, match="split: expected one of held_out, train, got 'test'"):
        artifact.ray_data("test")
