"""What tests of requests share: rows written as files of every kind, and their pages and plans."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.member_columns import whole
from rayograph.config import Request, Sample, Sampler
from rayograph.runs.artifact import Artifact
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.planner import plan_request
from rayograph.sampling.requests.readers import read_rows
from rayograph.sampling.requests.sample_batch import KEEP
from rayograph.sampling.requests.validation import Checker
from rayograph.storage import open_store

NAMES = ("cat", "dog", "7")
SPEC = ModelSpec(ClassLabelConditioner(3, NAMES), side=8, multiple=4, num_train_timesteps=1000)
SAMPLER = Sampler(scheduler="ddim", num_inference_steps=4, guidance_scale=2.0)


def as_parquet(path, rows, **options):
    table = rows
    if not isinstance(rows, pa.Table):
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        kinds = {
            "seed": pa.uint64() if min((n for n in columns.get("seed", []) if n is not None), default=0) >= 0 else None
        }
        table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    pq.write_table(table, path, **options)
    return str(path)


def as_json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_csv(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def written(folder, kind, rows):
    write = {"parquet": as_parquet, "jsonl": as_json_lines, "csv": as_csv}[kind]
    return write(folder / f"request.{kind}", rows)


def pages(uri, keep=(), spec=SPEC, **options):
    """Checked pages, as they come: plain arrays by name."""
    request = Request(uri=uri, keep=keep, **options)
    checker, first = Checker(request, spec, SAMPLER), 0
    for table in read_rows(request, spec.conditioner, None):
        page = checker.page(table, first)
        yield {name.removeprefix(KEEP): whole(page[name]) for name in page.column_names}
        first += len(table)


def plan_of(folder, uri, unit_size=4, keep=(), spec=SPEC, seed=5, name="target", **request):
    declared = Sample(request=Request(uri=uri, keep=keep, **request), unit_size=unit_size, sampler=SAMPLER)
    return plan_request(Artifact(open_store(str(folder)), name), declared, seed, spec, None)
