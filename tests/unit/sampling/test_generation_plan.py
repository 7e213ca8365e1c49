"""Plans of a generation: every sample once, in units that each draw as one batch, the same whoever plans and asks."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from asked import SAMPLER, SPEC, as_json_lines, as_parquet, plan_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayograph.conditioning.class_label import class_label_conditioner
from rayograph.config import Request, Sample, Sampler
from rayograph.config.job.conditioners import ClassLabel
from rayograph.errors import ConfigError, DataError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.requests import readers as reading
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.plan import PLAN, open_plan
from rayograph.sampling.requests.planner import plan_request
from rayograph.sampling.requests.row_group import read_page
from rayograph.storage import open_store

ROW = st.fixed_dictionaries(
    {
        "class": st.integers(0, 2),
        "count": st.integers(1, 9),
        "width": st.sampled_from([4, 8]),
        "guidance_scale": st.sampled_from([1.0, 2.0, 3.5]),
        "num_inference_steps": st.sampled_from([2, 3]),
    },
    optional={"seed": st.sampled_from([0, 5, 2**64 - 1]), "prompt": st.sampled_from(["A lamp", "a LAMP", "two", ""])},
)
anywhere = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[3, reading.PAGE_ROWS], ids=["small pages", "one page"])
def page_rows(request, monkeypatch):
    monkeypatch.setattr(reading, "PAGE_ROWS", request.param)


def expected(rows, seed=5):
    """What the samples should be, row by row."""
    samples = []
    for row in rows:
        for within in range(row.get("count", 1)):
            own = row.get("seed")
            samples.append(
                {
                    "number": len(samples),
                    "seed": seed if own is None else own,
                    "counter": len(samples) if own is None else within,
                    "class": row["class"],
                    "width": row.get("width", 8),
                    "height": 8,
                    "scheduler": "ddim",
                    "num_inference_steps": row.get("num_inference_steps", 4),
                    "guidance_scale": row.get("guidance_scale", 2.0),
                    "spacing": "trailing",
                    "eta": 0.0,
                }
                | ({"prompt": row["prompt"]} if row.get("prompt") is not None else {})
            )
    return samples


def planned(folder, rows, unit_size=4):
    name = f"{len(list(folder.iterdir()))}"
    rows = [{"prompt": None} | row for row in rows]
    return plan_of(folder / "store", as_json_lines(folder / f"{name}.jsonl", rows), unit_size, ("prompt",), name=name)


def all_draws(plan):
    return [plan.draws(plan.unit(number)) for number in range(plan.total_units)]


def records(plan):
    """Every sample's record by its number."""
    return {d.record(row)["number"]: d.record(row) for d in all_draws(plan) for row in range(len(d))}


@anywhere
@given(rows=st.lists(ROW, min_size=1, max_size=9), unit_size=st.integers(1, 11))
def test_units_cover_all_samples_exactly_once_and_say_what_their_rows_say(tmp_path, page_rows, rows, unit_size):
    plan = planned(tmp_path, rows, unit_size)
    samples = expected(rows)
    assert plan.total_samples == len(samples)
    numbers = [number for draws in all_draws(plan) for number in draws.numbers.tolist()]
    assert sorted(numbers) == list(range(len(samples)))
    assert [records(plan)[number] for number in range(len(samples))] == samples


@anywhere
@given(rows=st.lists(ROW, min_size=1, max_size=9), unit_size=st.integers(1, 11))
def test_a_unit_is_of_one_group_in_request_order_and_full_unless_it_is_the_groups_last(
    tmp_path, page_rows, rows, unit_size
):
    plan = planned(tmp_path, rows, unit_size)
    units = [plan.unit(number) for number in range(plan.total_units)]
    assert [unit.group for unit in units] == sorted(unit.group for unit in units)
    assert len({unit.shard for unit in units}) == len(units)
    for group, of_all in enumerate(plan.groups):
        mine = [unit for unit in units if unit.group == group]
        assert [len(unit) for unit in mine[:-1]] == [unit_size] * (len(mine) - 1)
        assert 0 < len(mine[-1]) <= unit_size
        numbers = [number for unit in mine for number in plan.draws(unit).numbers.tolist()]
        assert numbers == sorted(numbers)
        for unit in mine:
            draws = plan.draws(unit)
            assert len(draws) == len(unit)
            assert draws.group == of_all
            assert ((draws.options["guidance_scale"] != 1.0) == of_all.guided).all()
    keys = [tuple(group.said().values()) for group in plan.groups]
    assert len(set(keys)) == len(keys)


@anywhere
@given(rows=st.lists(ROW, min_size=1, max_size=9), unit_size=st.integers(1, 11))
def test_place_finds_the_unit_and_the_row_that_draws_a_sample(tmp_path, page_rows, rows, unit_size):
    plan = planned(tmp_path, rows, unit_size)
    for number in range(plan.total_samples):
        unit, row = plan.place(number)
        assert plan.draws(plan.unit(unit)).numbers[row] == number
    for number in (-1, plan.total_samples):
        with pytest.raises(DataError, match=f"sample {number}: expected 0 to {plan.total_samples - 1}"):
            plan.place(number)


@anywhere
@given(
    rows=st.lists(ROW, min_size=1, max_size=9),
    prompt=st.none() | st.sampled_from(["lamp", "A", "", "tw"]),
    class_number=st.none() | st.integers(0, 3),
    seed=st.none() | st.sampled_from([0, 5, 2**64 - 1, 6]),
    start=st.integers(0, 30),
    limit=st.integers(1, 12),
)
def test_find_gives_what_looking_at_every_sample_gives(
    tmp_path, page_rows, rows, prompt, class_number, seed, start, limit
):
    def fits(sample):
        return (
            (prompt is None or ("prompt" in sample and prompt.lower() in sample["prompt"].lower()))
            and class_number in (None, sample["class"])
            and seed in (None, sample["seed"])
            and sample["number"] >= start
        )

    wanted = {name: value for name, value in (("prompt", prompt), ("class", class_number)) if value is not None}
    found = planned(tmp_path, rows).find(wanted, seed, start, limit)
    assert found == [sample["number"] for sample in expected(rows) if fits(sample)][:limit]


def test_a_row_of_a_billion_samples_is_planned_found_and_drawn_without_a_list_of_them(tmp_path):
    uri = as_parquet(tmp_path / "r.parquet", [{"class": 1, "count": 10**9, "seed": 3}, {"class": 2, "count": 10**9}])
    tracemalloc.start()
    plan = plan_of(tmp_path, uri, unit_size=128)
    assert plan.total_samples == 2 * 10**9
    assert plan.find({"class": 1}, start=10**9 - 2) == [10**9 - 2, 10**9 - 1]
    assert plan.find({"class": 2}, limit=3) == [10**9, 10**9 + 1, 10**9 + 2]
    draws = plan.draws(plan.unit(plan.place(10**9)[0]))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert 10**9 in draws.numbers


def test_units_may_straddle_pages_and_pages_without_their_group(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    rows = [{"class": n % 3, "width": 4 if n in (0, 7, 8) else 8, "count": 2} for n in range(9)]
    plan = planned(tmp_path, rows, unit_size=5)
    assert [len(plan.unit(n)) for n in range(plan.total_units)] == [5, 1, 5, 5, 2]
    assert plan.draws(plan.unit(0)).numbers.tolist() == [0, 1, 14, 15, 16]
    assert [records(plan)[number] for number in range(18)] == expected(rows)


def files_of(store, name):
    artifact = Artifact(open_store(str(store)), name)
    return {name: artifact.read(name) for name in artifact.names("request/")}


def test_a_plan_is_the_same_bytes_whoever_makes_it_from_whatever_row_groups(tmp_path):
    table = pa.table({"class": np.arange(1000) % 3, "count": 1 + np.arange(1000) % 4})
    (tmp_path / "a").mkdir()
    uri = as_parquet(tmp_path / "r.parquet", table, row_group_size=7)
    for name in ("one", "two"):
        plan_of(tmp_path / "store", uri, name=name)
    assert files_of(tmp_path / "store", "one") == files_of(tmp_path / "store", "two")
    as_parquet(tmp_path / "r.parquet", table, row_group_size=300)
    plan_of(tmp_path / "store", uri, name="three")
    one, three = (files_of(tmp_path / "store", name) for name in ("one", "three"))
    assert {n: d for n, d in one.items() if n != PLAN} == {n: d for n, d in three.items() if n != PLAN}


def test_racing_drivers_come_to_one_plan_even_where_their_seeds_differ(tmp_path):
    uri = as_json_lines(tmp_path / "r.jsonl", [{"class": 0, "count": 3}] * 50)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda seed: plan_of(tmp_path / "store", uri, seed=seed), range(4)))
    assert len({plan.digest for plan in plans}) == 1
    assert plans[0].digest == open_plan(plans[0].artifact).digest
    assert len({plan.draws(plan.unit(0)).record(0)["seed"] for plan in plans}) == 1


def test_a_request_that_changed_since_is_refused_and_once_put_back_goes_on(tmp_path):
    path = tmp_path / "r.jsonl"
    uri = as_json_lines(path, [{"class": 0}, {"class": 1}])
    plan = plan_of(tmp_path / "store", uri)
    as_json_lines(path, [{"class": 0}, {"class": 2}])
    with pytest.raises(DataError, match=r"r\.jsonl: changed since .* was planned: raise request\.revision") as caught:
        plan_of(tmp_path / "store", uri)
    assert "\n" not in str(caught.value)
    as_json_lines(path, [{"class": 0}, {"class": 1}])
    assert plan_of(tmp_path / "store", uri).digest == plan.digest


def test_a_plan_goes_on_where_its_request_is_gone(tmp_path):
    path = tmp_path / "r.jsonl"
    plan = plan_of(tmp_path / "store", as_json_lines(path, [{"class": 0}, {"class": 1}]))
    path.unlink()
    assert plan_of(tmp_path / "store", str(path)).digest == plan.digest
    with pytest.raises(DataError, match="found none"):
        plan_of(tmp_path / "another", str(path))


def test_a_request_that_changes_while_it_is_read_commits_no_plan(tmp_path, monkeypatch):
    from rayograph.sampling.requests import planner

    plain, uri = planner._pages, as_json_lines(tmp_path / "r.jsonl", [{"class": 0}])

    def meddled(checker, endpoint_url):
        yield from plain(checker, endpoint_url)
        as_json_lines(tmp_path / "r.jsonl", [{"class": 1}, {"class": 2}])

    monkeypatch.setattr(planner, "_pages", meddled)
    with pytest.raises(DataError, match="changed while it was read"):
        plan_of(tmp_path / "store", uri)
    assert open_plan(Artifact(open_store(str(tmp_path / "store")), "target")) is None


def test_a_page_with_other_bytes_is_refused(tmp_path):
    plan = planned(tmp_path, [{"class": 0}])
    (name,) = (name for name in plan.artifact.names("request/") if name != PLAN)
    plan.artifact.write(name, b"other")
    read_page.cache_clear()
    with pytest.raises(DataError, match="expected sha256"):
        plan.draws(plan.unit(0))


def test_a_million_rows_take_the_memory_of_a_page(tmp_path):
    rows = 10**6
    table = pa.table({"class": np.arange(rows) % 3, "count": 1 + np.arange(rows) % 3, "seed": np.arange(rows)})
    uri = as_parquet(tmp_path / "r.parquet", table)
    del table
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    plan = plan_of(tmp_path / "store", uri, unit_size=1000)
    last = plan.draws(plan.unit(plan.total_units - 1))
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - arrow < 60 << 20
    assert plan.total_samples == sum(1 + n % 3 for n in range(rows))
    assert last.numbers[-1] == plan.total_samples - 1
    assert len(json.loads(plan.text)["pages"]) == -(-rows // reading.PAGE_ROWS)
    unit, row = plan.place(1_234_567)
    assert plan.draws(plan.unit(unit)).numbers[row] == 1_234_567


def counted(folder, samples, unit_size, spec=SPEC, name="counted"):
    declared = Sample(num_samples=samples, unit_size=unit_size, sampler=SAMPLER)
    return plan_request(Artifact(open_store(str(folder)), name), declared, 2**64 - 1, spec, None)


@anywhere
@given(samples=st.integers(1, 500), size=st.integers(1, 200), classes=st.sampled_from([0, 3]))
def test_without_a_request_sample_i_has_class_i_mod_n_and_the_jobs_seed(tmp_path, samples, size, classes):
    conditioner = class_label_conditioner(ClassLabel(num_classes=classes), None)
    spec = ModelSpec(conditioner, 8, 4, 1000)
    plan = counted(tmp_path, samples, size, spec, f"{samples}-{size}-{classes}")
    draws = all_draws(plan)
    assert [n for d in draws for n in d.numbers.tolist()] == list(range(samples))
    assert all(len(d) == size for d in draws[:-1])
    assert [n for d in draws for n in d.counters.tolist()] == list(range(samples))
    for d in draws:
        assert d.rows.column_names[4:] == (["class"] if classes else [])
        if classes:
            assert d.rows["class"].to_pylist() == (d.numbers % classes).tolist()
        assert d.record(0)["seed"] == 2**64 - 1
        assert (d.options["guidance_scale"] == 2.0).all()
        assert d.group.guided == (classes > 0)
    assert [plan.place(n) for n in range(samples)] == [divmod(n, size) for n in range(samples)]
    wanted = [n for n in range(samples) if classes and n % classes == 2 and n >= 7][:20]
    assert plan.find({"class": 2}, start=7, limit=20) == wanted
    assert plan.find({}, seed=2**64 - 1, start=3) == list(range(samples))[3:103]
    assert plan.find({}, seed=1) == plan.find({"prompt": "a"}) == plan.find({"class": 3}) == []


def test_more_steps_than_the_model_was_trained_with_are_refused_before_anything_is_written(tmp_path):
    declared = Sample(num_samples=3, sampler=Sampler(num_inference_steps=1001))
    with pytest.raises(
        ConfigError, match=r"sampler\.num_inference_steps: expected at most 1000, the model's, got 1001"
    ):
        plan_request(Artifact(open_store(str(tmp_path / "store")), "a"), declared, 0, SPEC, None)
    assert not (tmp_path / "store").exists()


def test_a_plan_outlives_its_request(tmp_path):
    uri = as_json_lines(tmp_path / "r.jsonl", [{"class": 0, "count": 3}])
    plan = plan_of(tmp_path / "store", uri)
    (tmp_path / "r.jsonl").unlink()
    assert open_plan(plan.artifact).draws(plan.unit(0)).numbers.tolist() == [0, 1, 2]
    assert (
        plan_request(plan.artifact, Sample(request=Request(uri=uri), sampler=SAMPLER), 5, SPEC, None).digest
        == plan.digest
    )


def test_a_row_with_another_scheduler_has_that_ones_own_spacing_and_no_eta(tmp_path):
    uri = as_json_lines(tmp_path / "r.jsonl", [{"class": 0}, {"class": 0, "scheduler": "dpmsolver++"}])
    sampler = Sampler(scheduler="ddim", num_inference_steps=4, spacing="karras", eta=0.5)
    for flow, spacing in ((False, "log_snr"), (True, "trailing")):
        artifact = Artifact(open_store(str(tmp_path)), f"flow-{flow}")
        declared = Sample(request=Request(uri=uri), sampler=sampler)
        spec = ModelSpec(SPEC.conditioner, 8, 4, 1000, flow)
        plan = plan_request(artifact, declared, 5, spec, None)
        assert [(g.options["scheduler"], g.options["spacing"], g.options["eta"]) for g in plan.groups] == [
            ("ddim", "karras", 0.5),
            ("dpmsolver++", spacing, None),
        ]
        assert plan.draws(plan.unit(1)).sampler.spacing == spacing
