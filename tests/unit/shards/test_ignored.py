"""What is no part of a data set is told by its name alone, everywhere alike."""

import pytest

from rayograph.shards.ignored import ignored_kind, is_ignored


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".hidden.jpg", "hidden"),
        ("a/.cache/b.jpg", "hidden"),
        ("a/._b.jpg", "._*"),
        ("__MACOSX/a/b.jpg", "__MACOSX"),
        ("a/.ipynb_checkpoints/b.jpg", ".ipynb_checkpoints"),
        ("a/@eaDir/b.jpg/SYNOPHOTO_THUMB_XL.jpg", "@eaDir"),
        (".Trash-1000/files/b.jpg", ".Trash*"),
        ("out/_temporary/0/part.parquet", "_temporary"),
        ("a/thumbs.DB", "Thumbs.db"),
        ("Desktop.ini", "desktop.ini"),
        (".DS_Store", ".DS_Store"),
        ("out/_SUCCESS", "_SUCCESS"),
        ("out/_metadata", "_metadata"),
        ("out/_committed_8812", "_committed_*"),
        ("out_$folder$", "_$folder$"),
        ("...", "hidden"),
    ],
)
def test_what_other_programs_leave_is_known_by_its_kind(path, kind):
    assert ignored_kind(path) == kind
    assert is_ignored(path)


@pytest.mark.parametrize(
    "path",
    ["a.jpg", "_DSC1234.JPG", "./a.jpg", "a/../b.jpg", "p//x.jpg", "~", "__init__/a.png", "_metadata.jpg", "a.b/c.d"],
)
def test_a_data_sets_own_names_are_not(path):
    assert ignored_kind(path) is None
    assert not is_ignored(path)
