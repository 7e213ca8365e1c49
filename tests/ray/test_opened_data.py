"""An artifact opened from Python as a Ray data set."""

from pathlib import Path

import opened
import pytest
import s3_servers

import rayograph
from rayograph.errors import DataError
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


def test_a_split_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    artifact = rayograph.open(opened.committed(open_store(str(tmp_path))))
    with pytest.raises(DataError, match="split: expected one of held_out, train, got 'test'"):
        artifact.ray_data("test")
