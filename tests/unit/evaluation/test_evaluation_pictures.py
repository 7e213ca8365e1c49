import base64
import io
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from rayograph.errors import DataError
from rayograph.evaluation.report.axes import short, spanning
from rayograph.evaluation.report.curves import line_chart
from rayograph.evaluation.report.figures import data_uri, denoising_strip, reconstruction_pairs, samples_by_class, tile


def shades(*values):
    """2×2 images, one of each grey."""
    return np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None, None], (len(values), 2, 2, 3)).copy()


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_grid_is_in_reading_order_enlarged_crisply_on_a_transparent_ground():
    sheet = opened(tile(shades(10, 20, 30), columns=2, scale=3, gap=1))
    assert sheet.shape == (6 + 1 + 6, 6 + 1 + 6, 4)
    for corner, value in (((0, 0), 10), ((0, 7), 20), ((7, 0), 30)):
        square = sheet[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6]
        assert (square[..., :3] == value).all()
        assert (square[..., 3] == 255).all()
    assert (sheet[6] == 0).all()
    assert (sheet[7:, 7:] == 0).all()


def test_small_images_are_enlarged_and_large_ones_are_not():
    assert opened(tile(shades(1), columns=1)).shape == (96, 96, 4)
    assert opened(tile(np.zeros((1, 128, 128, 3), dtype=np.uint8), columns=1)).shape == (128, 128, 4)


def test_every_image_stands_directly_above_its_reconstruction():
    sheet = opened(reconstruction_pairs(shades(1, 2, 3), shades(11, 12, 13), columns=2, scale=1, gap=3))
    assert sheet.shape[0] == 4 * 2 + 1 + 9 + 1
    assert [int(sheet[top, left, 0]) for top in (0, 3, 14, 17) for left in (0, 5)] == [1, 2, 11, 12, 3, 0, 13, 0]


def test_samples_stand_by_class_in_the_order_they_came():
    rows = samples_by_class(shades(1, 2, 3, 4), np.array([5, 0, 5, 5]), columns=2, scale=1, gap=0)
    assert [row.label for row in rows] == [0, 5]
    assert opened(rows[1].png)[0, ::2, 0].tolist() == [1, 3]


def test_a_class_with_few_samples_has_a_strip_no_wider_tiles_than_the_others():
    rows = samples_by_class(shades(1, 2, 3), np.array([0, 1, 1]), columns=2, scale=1, gap=0)
    assert opened(rows[0].png).shape == opened(rows[1].png).shape


def test_a_denoising_strip_runs_from_left_to_right_with_a_row_for_each_sample():
    steps = np.stack([shades(1, 2), shades(11, 12), shades(21, 22)])
    sheet = opened(denoising_strip(steps, scale=1, gap=0))
    assert sheet[::2, ::2, 0].tolist() == [[1, 11, 21], [2, 12, 22]]


def test_a_sheet_without_images_is_refused():
    with pytest.raises(DataError, match="got none"):
        tile(shades(), columns=3)


def test_a_data_uri_holds_the_picture():
    head, _, body = data_uri(b"picture").partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"picture"


ROWS = [{"images_seen": seen, "loss": 2.0 / (1 + seen), "other <&>": float(seen)} for seen in range(0, 5000, 8)]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_chart_is_well_formed_names_its_series_and_stays_on_its_sheet(logarithmic):
    series = {"loss": 'loss "a" < b', "other <&>": "other"}
    chart = ElementTree.fromstring(line_chart(ROWS, series, title="A & B", logarithmic=logarithmic))
    words = [text.text for text in chart.iter("text")]
    assert {'loss "a" < b', "other", "images seen", "0", "4k"} <= set(words)
    lines = list(chart.iter("polyline"))
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert 100 < len(points) < 200
        assert all(0 <= x <= 420 and 0 <= y <= 220 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_values_that_cannot_be_drawn_are_passed_over():
    rows = [
        {"images_seen": 0, "loss": math.nan},
        {"images_seen": 8, "loss": None},
        {"images_seen": 16},
        {"loss": 3.0},
        {"images_seen": 24, "loss": math.inf},
        {"images_seen": 32, "loss": 1.0},
        {"images_seen": 40, "loss": -1.0},
    ]
    assert len(list(ElementTree.fromstring(line_chart(rows, {"loss": "loss"}, title="t")).iter("polyline"))) == 1
    alone = ElementTree.fromstring(line_chart(rows, {"loss": "loss"}, title="t", logarithmic=True))
    assert len(list(alone.iter("circle"))) == 1  # one point is a dot
    assert line_chart(rows[:5], {"loss": "loss"}, title="t") == ""
    assert line_chart([], {"loss": "loss"}, title="t") == ""


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0123, 0.0124), (1.0, 1.0), (0.9, 1.1), (0.02, 0.7), (3e-5, 4.0), (1e-9, 1e9), (7.0, 123456.0)]
)
def test_an_axis_has_a_few_distinct_ticks_between_its_ends(low, high, logarithmic):
    axis = spanning([low, high], start=0.0, end=100.0, logarithmic=logarithmic)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 12
    assert all(-2 < axis.place(tick) < 102 for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert 0 < axis.place(low) <= axis.place(high) < 100


def test_a_linear_axis_takes_negative_values_and_zero_throughout():
    assert 0.0 in spanning([-3.0, 5.0], 0.0, 1.0).ticks()
    assert spanning([0.0, 0.0], 0.0, 1.0).place(0.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (-0.5, "−0.5"), (250_000.0, "250k"), (1.5e6, "1.5M"), (0.02, "0.02")]
)
def test_axes_write_numbers_briefly(value, written):
    assert short(value) == written
