"""YAML 1.2's core schema: what a value is, what none is, and what is written reads the same in either version."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rayograph.config.reading import core_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+3", 3),
        ("-0", 0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.INF", -math.inf),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("'null'", "null"),
        ("=", "="),
        ("<<", "<<"),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
        ("[1, 010, {a: on}]", [1, 10, {"a": "on"}]),
        *((word, word) for word in ("yes", "No", "ON", "off", "y", "n", "nan", "inf")),
    ],
)
def test_a_value_is_what_yaml_1_2_says(text, value):
    found = core_yaml.load_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", " ", "# nothing", "{a: }", "[1, {b: }]", "- ", "- 1\n-"])
def test_nothing_is_no_value(text):
    with pytest.raises(yaml.YAMLError, match=r"expected a value, got none \(null is written null\)"):
        core_yaml.load_value(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{a: 1, b: 2, a: 3}", "expected the key 'a' once, found it again"),
        ("{a: {1: x, 0x1: y}}", "expected the key 1 once, found it again"),
        ("{? [1] : 2}", "expected a plain key"),
        ("9" * 5000, "Exceeds the limit"),
        ("!!int x", "invalid literal"),
        ("!!float x", "could not convert"),
        ("!!bool x", "expected true or false"),
        ("!!timestamp x", "could not determine a constructor"),
        ("!!binary é", "could not determine a constructor"),
        ("!!python/object:os.system x", "could not determine a constructor"),
        ("*a", "undefined alias"),
        ("1\n---\n2", "expected a single document"),
        ("&a [*a]", "nested too deeply"),
        ("[" * 5000, "nested too deeply"),
        ("\0", "not allowed"),
    ],
)
def test_what_is_no_yaml_is_one_error(text, reason):
    with pytest.raises(yaml.YAMLError) as caught:
        core_yaml.load_value(text)
    assert reason in str(caught.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
        | st.sampled_from(["010", "yes", "1:30", "1e3", "0o7", "2020-01-01", "1_000", "~", "", "=", "<<", "0b1"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcno01", max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_is_written_reads_the_same_by_both_versions(value):
    text = core_yaml.dump(value)
    assert core_yaml.load(text) == value
    assert yaml.safe_load(text) == value
