"""Conditions over HTTP: a model says what it takes, rows say it, and what is wrong is one line before the start."""

from base64 import b64encode

import asked
import numpy as np
import painted
import pytest
from fastapi.testclient import TestClient
from worded import Worded, WordedConditioner

from rayograph.api.app import build_app
from rayograph.api.job_service import StoreJobService
from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.form import FormField, form_of
from rayograph.config import Scale
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.shards.pixels.decode import to_png

PICTURE = to_png(np.full((4, 4, 3), 200, np.uint8))
URL = f"data:image/png;base64,{b64encode(PICTURE).decode()}"


class Place:
    """A store whose model is worded, and a client of its app; nothing is drawn but by the painter."""

    def __init__(self, folder, conditioner=None):
        self.store = painted.new_store(folder)
        self.painter = painted.Painter(self.store)
        self.spec = ModelSpec(conditioner or WordedConditioner(Worded(), None), 48, 4, 1000)
        self.service = StoreJobService(
            self.store,
            Scale(),
            self.painter.start,
            self.painter.draw_again,
            prepare=self.check,
            read_spec=lambda model, manifest: self.spec,
        )
        self.model = painted.model_name(self.store)
        app = build_app(self.store, self.service, painted.open_plan)
        self.client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    def check(self, stage):
        request = stage.declared.request
        list(asked.pages(request.uri, spec=self.spec, files=request.files))

    def submit(self, *rows):
        return self.client.post("/v1/jobs", json={"model": self.model, "unit_size": 4, "rows": list(rows)})


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "store")


def refused(answer):
    assert answer.status_code == 422, answer.text
    line = answer.json()["error"]
    assert "\n" not in line
    return line


def test_a_model_says_what_it_takes_field_by_field(place, tmp_path):
    found = place.client.get(f"/v1/models/{place.model}").json()
    assert (found["side"], found["multiple"]) == (48, 4)
    blank = {"names": [], "count": None, "most": None}
    assert found["takes"] == [
        {"column": "prompt", "kind": "text", "required": True} | blank,
        {"column": "image", "kind": "image", "required": True} | blank,
        {"column": "negative_prompt", "kind": "text", "required": False} | blank,
    ]
    classes = Place(tmp_path / "classes", ClassLabelConditioner(2, ("cat", "dog")))
    (field,) = classes.client.get(f"/v1/models/{classes.model}").json()["takes"]
    assert field == {"column": "class", "kind": "class", "required": True, "names": ["cat", "dog"], "count": 2} | {
        "most": None
    }
    assert place.client.get("/v1/models/none/such").status_code == 422


@pytest.mark.parametrize("image", [URL, b64encode(PICTURE).decode()], ids=["data URL", "base64"])
def test_a_file_in_a_row_is_drawn_by_shown_and_found_again(place, image):
    answer = place.submit({"prompt": "a red cat", "image": image, "negative_prompt": "blur", "count": 2})
    assert answer.status_code == 201, answer.text
    job = answer.json()["job"]["id"]
    place.painter.join()
    found = place.client.get(f"/v1/jobs/{job}/images", params={"negative_prompt": "blu"}).json()["images"]
    assert [frame["number"] for frame in found] == [0, 1]
    assert place.client.get(f"/v1/jobs/{job}/images", params={"negative_prompt": "dog"}).json()["images"] == []
    line = refused(place.client.get(f"/v1/jobs/{job}/images", params={"mask": "x"}))
    assert line == "mask: expected one of prompt, class, seed, start, limit, negative_prompt, prompt"
    assert [field["column"] for field in place.client.get(f"/v1/jobs/{job}/takes").json()] == [
        *("prompt", "image", "negative_prompt")
    ]
    if image == URL:
        given = place.client.get(f"/v1/jobs/{job}/images/1/given/image")
        assert (given.content, given.headers["content-type"]) == (PICTURE, "image/png")
    assert place.client.get(f"/v1/jobs/{job}/images/1/given/mask").status_code == 404


def test_wrong_conditions_are_one_line_and_nothing_is_started(place):
    good = {"prompt": "a cat", "image": URL}
    place.store.put("secret.png", PICTURE)
    broken = b64encode(PICTURE[:-20]).decode()
    for row, line in (
        ({"prompt": "a cat"}, "rows: expected a column 'image', got 'count', 'prompt'"),
        (good | {"class": 1}, "rows: column 'class': the model takes a text and an image, no class"),
        (good | {"mask": URL}, "rows: column 'mask': the model takes a text and an image, no mask"),
        (good | {"image": "secret.png"}, "rows.0: image: expected a file in base64, got 'secret.png'"),
        (good | {"image": "../secret.png"}, "rows.0: image: expected a file in base64, got '../secret.png'"),
        (good | {"image": broken}, "rows.0: image: expected an image, got"),
        (good | {"image": b64encode(b"GIF8 none").decode()}, "rows.0: image: expected an image, got 9 bytes"),
        (good | {"image": {"a": 1}}, "rows.0: image: expected"),
        (good | {"prompt": "word " * 10_000}, "rows.0.prompt: expected at most 4,096 characters, got 50,000"),
        (good | {"negative_prompt": "x" * 5000}, "rows.0.negative_prompt: expected at most 4,096 characters"),
    ):
        assert refused(place.submit(row)).startswith(line)
    assert place.painter.started == []
    large = place.submit(good | {"image": "A" * (1 << 20)})
    assert (large.status_code, large.json()["error"]) == (413, "body: expected at most 1,048,576 bytes, got more")


def test_a_prompt_for_a_model_of_classes_is_refused(tmp_path):
    place = Place(tmp_path / "store", ClassLabelConditioner(4, tuple(painted.CLASSES)))
    for column, what in (("prompt", "text"), ("negative_prompt", "negative text"), ("boxes", "boxes")):
        line = refused(place.submit({"class": "one", column: "x"}))
        assert line == f"rows: column '{column}': the model takes classes, no {what}"
    assert place.painter.started == []


def test_a_form_is_read_off_the_columns_where_a_conditioner_says_no_more():
    import pyarrow as pa

    found = form_of({"words": pa.string(), "photo": pa.binary()}, {"tint": pa.list_(pa.float32(), 3)})
    assert found == (FormField("words", "text"), FormField("photo", "image"), FormField("tint", "json", False))
    assert [field.is_file for field in found] == [False, True, False]
    known = form_of({"boxes": pa.string(), "map": pa.binary(), "mask": pa.binary()}, {})
    assert [field.kind for field in known] == ["boxes", "map", "mask"]
