"""Indexing tars that others made: the same members, places and bytes that tarfile and webdataset find."""

import gzip
import io
import random
import struct
import tarfile
from pathlib import Path

import pytest
import webdataset
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from watched_store import WatchedFolder

from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.shards import sequential_reader as forward
from rayograph.shards.headers import number
from rayograph.shards.sample import Sample
from rayograph.shards.scan import CLASSES, MOST_EXTENSIONS, scan_shard, split_name
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import read_samples
from rayograph.shards.tar import write_shard
from rayograph.storage import ObjectStore

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LETTERS = st.characters(exclude_characters="/.\0\\:\n", exclude_categories=["Cs"])
PARTS = st.text(LETTERS, min_size=1, max_size=30).filter(lambda part: not part.startswith("__"))
EXTENSIONS = st.sampled_from(["jpg", "JPG", "cls", "txt", "seg.png", "Json", "npy"])
END = bytes(1024)


@pytest.fixture
def store(tmp_path):
    return ObjectStore(WatchedFolder(str(tmp_path)))


def tar_of(members, kind=tarfile.PAX_FORMAT):
    """A tar's bytes: of (name, bytes), or (TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name) if isinstance(name, str) else name
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def raw_header(name, size=b"%011o\0" % 4, kind=b"0", magic=b"ustar\x0000", prefix=b""):
    """A header, byte for byte as asked."""
    fields = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x",
        *(name, b"0000644\0", b"0000000\0", b"0000000\0", size, b"%011o\0" % 0, b" " * 8, kind, b"", magic),
        *(b"", b"", b"", b"", prefix),
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def raw(*members):
    """Of (header, bytes)."""
    return b"".join(header + data + bytes(-len(data) % 512) for header, data in members) + END


def scan(store, data, name="a.tar"):
    store.put(name, data)
    return scan_shard(store, name)


def contents(index, data):
    """What the index says that the tar's bytes hold, checked by its checksums."""
    samples = {key: {} for key in index.keys}
    for extension, columns in index.members.items():
        for row, key in enumerate(index.keys):
            offset, size = int(columns.offsets[row]), int(columns.sizes[row])
            if size >= 0:
                found = samples[key][extension] = data[offset : offset + size]
                assert xxhash.xxh3_64_intdigest(found) == columns.checksums[row]
    return samples


def by_webdataset(path):
    """What the webdataset package reads, in its order."""
    rows = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    return {row["__key__"]: {k: v for k, v in row.items() if not k.startswith("__")} for row in rows}


def by_tarfile(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}


def rejected(index):
    """The only sample that was left out: its key and why."""
    (row,) = index.facts["rejected"]
    return row["key"], row["reason"]


def refused(store, data):
    """The one sentence that is said of a tar that cannot be read."""
    with pytest.raises(DataError) as error:
        scan(store, data)
    line = str(error.value)
    assert line.startswith(f"{store.uri}/a.tar: ")
    assert "\n" not in line
    return line.removeprefix(f"{store.uri}/a.tar: ")


@settings(max_examples=150)
@given(
    keys=st.lists(
        st.builds(
            lambda folders, last: "/".join([*folders, last]), st.lists(PARTS, max_size=6), PARTS.filter(str.strip)
        ),
        min_size=1,
        max_size=8,
        unique=True,
    ),
    kind=st.sampled_from(sorted(FORMATS)),
    range_bytes=st.sampled_from([512, 777, 5000, 1 << 24]),
    draw=st.randoms(use_true_random=False),
    data=st.data(),
)
def test_any_tar_has_the_members_that_tarfile_and_webdataset_find(
    tmp_path_factory, keys, kind, range_bytes, draw, data
):
    members = {
        key: {ext: draw.randbytes(draw.choice([1, 3, 511, 512, 513, 2000])) for ext in extensions}
        for key in keys
        for extensions in [data.draw(st.lists(EXTENSIONS, min_size=1, unique_by=str.lower))]
    }
    try:
        made = tar_of([(f"{k}.{e}", v) for k, parts in members.items() for e, v in parts.items()], FORMATS[kind])
    except (ValueError, UnicodeEncodeError):  # longer than a ustar name can be
        return
    folder = tmp_path_factory.mktemp("scan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "RANGE_BYTES", range_bytes)
        index = scan(ObjectStore(WatchedFolder(str(folder))), made)
    found = contents(index, made)
    assert {f"{k}.{e}": v for k, parts in found.items() for e, v in parts.items()} == {
        name.rpartition(".")[0] + "." + name.rpartition(".")[2].lower(): value
        for name, value in by_tarfile(made).items()
    }
    assert list(found.items()) == list(by_webdataset(folder / "a.tar").items())
    assert (index.size, index.sha256, index.facts["rejected"]) == (len(made), sha256(made), [])


def test_our_own_shards_get_the_index_that_their_writer_made(store):
    samples = [
        Sample(f"s{n:03}", {"png": random.Random(n).randbytes(100 * n + 1), "cls": b"%d" % n}) for n in range(40)
    ]
    data, index = write_shard(samples)
    found = scan(store, data)
    assert (found.facts.pop("rejected"), found.facts.pop("passed_over")) == ([], {})
    assert found.to_bytes() == index.to_bytes()


def test_samples_are_read_by_the_index_and_members_may_be_missing(store):
    index = scan(store, tar_of([("a.jpg", b"x"), ("a.txt", b"t"), ("b.JPG", b"y" * 600), ("c.cls", b"3")]))
    artifact = Artifact(store, "")
    assert read_samples(artifact, "a.tar", ShardIndex.from_bytes(index.to_bytes(), "here"), [2, 1, 0]) == [
        Sample("c", {"cls": b"3"}),
        Sample("b", {"jpg": b"y" * 600}),
        Sample("a", {"jpg": b"x", "txt": b"t"}),
    ]


def test_a_tar_is_read_in_ranges_each_once_and_never_whole(store, monkeypatch):
    monkeypatch.setattr(forward, "RANGE_BYTES", 4096)
    data = tar_of([(f"{n}.jpg", bytes([n]) * (500 * n + 1)) for n in range(30)])
    scan(store, data)
    assert store.backend.reads == []
    starts = range(0, len(data), 4096)
    assert store.backend.ranges == [(start, min(4096, len(data) - start)) for start in starts]


def test_a_missing_tar_is_a_missing_object(store):
    with pytest.raises(MissingObjectError):
        scan_shard(store, "a.tar")


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg", "a/b.jpg", "a.b/c.jpg", "a.b/c.d.e", ".b.jpg", ".jpg", "a", "a/b", "a.b/c", "a.", "a..b",
        "__a__", "__a__/b.jpg", "__a__b.jpg", "__a.jpg", "c/__a__/b.jpg", "__a__.jpg", "a.JPG", "", "a/", "a b.c d",
    ],
)  # fmt: skip
def test_keys_and_extensions_are_webdatasets(tmp_path, name):
    (tmp_path / "a.tar").write_bytes(tar_of([(name, b"x")]) if name else tar_of([]))
    expected = [(key, ext) for key, row in by_webdataset(tmp_path / "a.tar").items() for ext in row if ext]
    found = split_name(name)
    assert ([] if found is None else [found]) == expected


def test_hidden_files_in_folders_are_ignored_where_webdataset_takes_their_folder_for_a_sample():
    assert split_name("a/.b.jpg") is split_name("a/._b.jpg") is None


def test_long_names_of_every_make(store):
    long = "folder/" * 30 + "k" * 90
    longer = "f" * 300
    standing = raw_header(b"g", b"%011o\0" % 30, b"g"), b"30 comment=nothing of interest\n"[:30]
    pax = b"%d path=%s.txt\n" % (len(longer) + 14, longer.encode())
    data = raw(
        (raw_header(b"././@LongLink", b"%011o\0" % (len(long) + 5), b"L", b"ustar  \0"), long.encode() + b".jpg\0"),
        (raw_header(b"././@LongLink", b"%011o\0" % 9, b"K", b"ustar  \0"), b"whatever\0"),
        (raw_header(b"cut.jpg", magic=b"ustar  \0", prefix=b"12345670123\0"), b"long"),
        (standing[0], b"29 comment=nothing of intere\n" + b"\0"),
        (raw_header(b"p", b"%011o\0" % len(pax), b"x"), pax),
        (raw_header(b"cut.txt"), b"more"),
        (raw_header(b"b.jpg", prefix=b"split/between"), b"ustr"),
        (raw_header(b"v7.jpg", kind=b"\0", magic=b""), b"old!"),
        (raw_header(b"v7folder/", b"%011o\0" % 0, kind=b"\0", magic=b""), b""),
        (raw_header(b"gnu.jpg", magic=b"ustar  \0", prefix=b"12345670123\0"), b"time"),
    )
    found = contents(scan(store, data), data)
    assert found == {
        long: {"jpg": b"long"},
        longer: {"txt": b"more"},
        "split/between/b": {"jpg": b"ustr"},
        "v7": {"jpg": b"old!"},
        "gnu": {"jpg": b"time"},
    }


def test_sizes_of_every_make(store):
    pax = b"9 size=4\n"
    data = raw(
        (raw_header(b"a.jpg", b"\x80" + (4).to_bytes(11, "big")), b"base"),
        (raw_header(b"b.jpg", b"000000000004"), b"full"),
        (raw_header(b"c.jpg", b"          4 "), b"gaps"),
        (raw_header(b"x", b"%011o\0" % 9, b"x"), pax),
        (raw_header(b"d.jpg", b"%011o\0" % 0), b"pax!"),
        (raw_header(b"e.jpg", kind=b"7"), b"runs"),
    )
    found = contents(scan(store, data), data)
    assert found == {k: {"jpg": v} for k, v in zip("abcde", (b"base", b"full", b"gaps", b"pax!", b"runs"), strict=True)}
    assert number(b"\x80" + (5 << 40).to_bytes(11, "big")) == 5 << 40


def test_a_standing_pax_record_holds_for_all_that_follow(store):
    data = raw(
        (raw_header(b"g", b"%011o\0" % 9, b"g"), b"9 size=4\n"),
        (raw_header(b"a.jpg", b"%011o\0" % 0), b"four"),
        (raw_header(b"b.jpg", b"%011o\0" % 9), b"also"),
    )
    assert contents(scan(store, data), data) == {"a": {"jpg": b"four"}, "b": {"jpg": b"also"}}


def test_a_header_summed_with_signed_bytes_is_one(store):
    header = bytearray(raw_header("ü.jpg".encode()))
    blank = header[:148] + b" " * 8 + header[156:]
    header[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in blank)
    assert scan(store, raw((bytes(header), b"four"))).keys == ["ü"]


@pytest.mark.parametrize("kept", [0, 512, 1024, 1024 + 100])
def test_end_marks_may_be_missing(store, kept):
    data = tar_of([("a.jpg", b"a" * 600), ("b.jpg", b"b" * 10)])[: 512 + 1024 + 512 + 512]
    assert scan(store, (data + END + END)[: len(data) + kept]).keys == ["a", "b"]
    assert scan(store, data[: -500 - 1 + 1]).keys == ["a", "b"]  # not even the last member's padding


def test_a_tar_without_samples_is_an_index_without_rows(store):
    index = scan(store, tar_of([]))
    assert (len(index), index.members) == (0, {})
    assert scan_shard(store, "a.tar", ("jpg",)).facts[CLASSES] == {"missing": 0, "largest": None, "names": []}


@pytest.mark.parametrize(
    ("classes", "missing", "largest", "names"),
    [
        ([b"0", b"7", b"3"], 0, 7, []), ([b" 4\n", b"2"], 0, 4, []), ([b"1", None], 1, 1, []),
        ([b"dog", b"cat ", b"dog"], 0, None, ["cat", "dog"]), ([b"1", b"cat"], 0, 1, ["cat"]),
        ([b"9" * 18, b"2"], 0, int("9" * 18), []), (["dé".encode(), b"3d"], 0, None, ["3d", "dé"]),
    ],
)  # fmt: skip
def test_what_the_classes_are_is_known(store, classes, missing, largest, names):
    members = [(f"{n}.jpg", b"x") for n in range(len(classes))]
    labels = [(f"{n}.cls", label) for n, label in enumerate(classes) if label is not None]
    store.put("a.tar", tar_of(sorted(members + labels)))
    found = scan_shard(store, "a.tar", ("jpg",)).facts[CLASSES]
    assert found == {"missing": missing, "largest": largest, "names": names}


def test_a_leading_dot_slash_is_nothing(store):
    """Of the kind of dot-slash.tar: `tar -C folder -c .`."""
    index = scan(store, tar_of([(special("./", tarfile.DIRTYPE), b""), ("./0.jpg", b"x"), (".//./a/1.jpg", b"y")]))
    assert index.keys == ["0", "a/1"]
    assert index.facts["rejected"] == []
    both = scan(store, tar_of([("0.jpg", b"x"), ("./0.jpg", b"y")]))
    assert rejected(both) == ("0", "member ./0.jpg: expected one .jpg in a sample, got two")


def test_members_of_no_sample_are_counted_by_why(store):
    names = ["a.jpg", "README", "._a.jpg", "__MACOSX/a.jpg", "@eaDir/b.jpg", ".git/c.jpg", "b.", "__x__/d.jpg"]
    index = scan(store, tar_of([(name, b"x") for name in names]))
    assert index.keys == ["a"]
    assert index.facts["passed_over"] == {"hidden": 4, "no extension": 1, "other": 2}


# What is wrong with one sample leaves that sample out.


@pytest.mark.parametrize(
    ("members", "key", "reason"),
    [
        (
            [("x.jpg", b"1"), ("good.jpg", b"g"), ("x.txt", b"2")],
            "x",
            "member x.txt: expected a sample's members side by side, got another sample between them",
        ),
        ([("x.jpg", b"1"), ("x.jpg", b"2")], "x", "member x.jpg: expected one .jpg in a sample, got two"),
        ([("x.jpg", b"1"), ("x.JPG", b"2")], "x", "member x.JPG: expected one .jpg in a sample, got two"),
        ([("x.jpg", b""), ("x.txt", b"1")], "x", "member x.jpg: expected contents, got 0 bytes"),
        *(
            ([("x.jpg", b"1"), (f"x.{ext}", b"2")], "x", f"member x.{ext}: expected no pickle, which may run a program")
            for ext in ("pkl", "pickle", "pyd", "pt", "pth", "PKL", "seg.pth", "pkl.gz")
        ),
        *(
            ([(f"{key}.jpg", b"1"), (f"{key}.txt", b"1")], key, f"member {key}.jpg: expected a relative name without")
            for key in ("/etc/x", "../x", "a/../x", "\\x", "C:x", "c:/x", "c:\\x")
        ),
        ([("a\\..\\x.jpg", b"1")], "a\\", "member a\\..\\x.jpg: expected a relative name without"),
        ([(special("x.jpg", tarfile.SYMTYPE, "y"), b"")], "x", "member x.jpg: expected a file, got a link"),
        ([(special("x.jpg", tarfile.LNKTYPE, "y"), b"")], "x", "member x.jpg: expected a file, got a link"),
        ([(special("x.jpg", tarfile.FIFOTYPE), b"")], "x", "member x.jpg: expected a file, got a device"),
        ([(special("x.jpg", tarfile.GNUTYPE_SPARSE), b"s")], "x", "member x.jpg: expected a file, got a sparse file"),
        (
            [("caf\udce9.jpg", b"1"), ("caf\udce9.cls", b"1")],
            "caf\\xe9",
            "member caf\\xe9.jpg: expected a name in UTF-8",
        ),
        ([("x.jpg", b"1"), ("x.caf\udce9", b"1")], "x", "member x.caf\\xe9: expected a name in UTF-8"),
    ],
)
def test_a_bad_sample_is_left_out_and_named(store, members, key, reason):
    data = tar_of([("before.jpg", b"b"), *members, ("good.jpg", b"g"), ("last.jpg", b"l")], tarfile.GNU_FORMAT)
    if ("good.jpg", b"g") in members:
        data = tar_of([("before.jpg", b"b"), *members, ("last.jpg", b"l")])
    index = scan(store, data)
    assert contents(index, data) == {"before": {"jpg": b"b"}, "good": {"jpg": b"g"}, "last": {"jpg": b"l"}}
    found, why = rejected(index)
    assert found == key
    assert why.startswith(reason)
    assert store.uri.encode() not in index.to_bytes()  # a copy elsewhere has the same index
    assert ShardIndex.from_bytes(index.to_bytes(), "here").facts == index.facts


@pytest.mark.parametrize("target", ["path", "GNU.sparse.major"])
def test_pax_can_say_what_headers_cannot_and_is_not_believed(store, target):
    record = {"path": b"16 path=x\0y.jpg\n", "GNU.sparse.major": b"22 GNU.sparse.major=1\n"}[target]
    data = raw(
        (raw_header(b"h", b"%011o\0" % len(record), b"x"), record),
        (raw_header(b"x.jpg"), b"four"),
        (raw_header(b"y.jpg"), b"good"),
    )
    index = scan(store, data)
    assert index.keys == ["y"]
    key, reason = rejected(index)
    assert (key, reason) == {
        "path": ("x\\0y", "member x\\0y.jpg: expected a relative name without '..', a drive or NUL, got this one"),
        "GNU.sparse.major": ("x", "member x.jpg: expected a file, got a sparse file"),
    }[target]


def test_an_npz_is_no_reason_to_reject_and_is_not_opened(store):
    assert scan(store, tar_of([("a.npz", b"not even a zip")])).facts["rejected"] == []


def test_a_link_between_a_samples_members_does_not_part_them(store):
    index = scan(store, tar_of([("a.jpg", b"1"), (special("b.jpg", tarfile.SYMTYPE, "a.jpg"), b""), ("a.txt", b"2")]))
    assert index.keys == ["a"]
    assert sorted(index.members) == ["jpg", "txt"]
    assert rejected(index)[0] == "b"


def test_columns_that_only_rejected_samples_had_are_none(store):
    assert list(scan(store, tar_of([("a.jpg", b"1"), ("b.pkl", b"2")])).members) == ["jpg"]


def test_names_with_dots_that_would_tear_a_data_set_apart_are_an_error(store):
    line = refused(store, tar_of([(f"photo.{n}.jpg", b"1") for n in range(MOST_EXTENSIONS + 1)]))
    assert line == (
        "member photo.256.jpg: expected at most 256 extensions in a shard, got .256.jpg as one more: "
        "a key ends at the first dot, so it must hold none"
    )


# What is wrong with the tar is an error.


WHOLE = tar_of([("a.jpg", b"a" * 700), ("b.jpg", b"b" * 700)])


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "expected a tar, got an empty file"),
        (b"\xff\xd8 a picture", "expected a tar, got 12 bytes that do not begin with a tar's header"),
        (b"<html>" * 1000, "expected a tar, got 6,000 bytes that do not begin with a tar's header"),
        (
            gzip.compress(WHOLE),
            (
                "expected a plain tar, got one compressed by gzip: single samples cannot be read from it, so "
                "decompress it first (its images are compressed anyway)"
            ),
        ),
        (
            WHOLE[: 1536 + 100],
            "byte 1,536, after member a.jpg: expected a member's header, got 100 bytes of one: the tar is cut off",
        ),
        (WHOLE[: 512 + 300], "member a.jpg: expected 700 bytes from byte 512, got 300: the tar is cut off"),
        (WHOLE[: 2048 + 699], "member b.jpg: expected 700 bytes from byte 2,048, got 699: the tar is cut off"),
        (
            WHOLE[:1536] + b"garbage!" * 64 + WHOLE[1536:],
            (
                "byte 1,536, after member a.jpg: expected a member's header, got other bytes (header checksum): it is "
                "damaged, or holds garbage there"
            ),
        ),
        (
            WHOLE[:1540] + b"\x01" + WHOLE[1541:],
            (
                "byte 1,536, after member a.jpg: expected a member's header, got other bytes (header checksum): it is "
                "damaged, or holds garbage there"
            ),
        ),
        (
            WHOLE[:3072] + END + tar_of([("c.jpg", b"c")]),
            (
                "expected nothing after the tar's end, got more members from byte 4,096: tars that were joined are "
                "read up to the first's end only"
            ),
        ),
        (
            raw((raw_header(b"a.jpg", b"wrong\0"), b"")),
            (
                "byte 0: expected a member's header, got a damaged one (b'wrong\\x00\\x00\\x00\\x00\\x00\\x00\\x00' "
                "for an octal number)"
            ),
        ),
        (
            raw((raw_header(b"a.jpg", b"\xff" * 12), b"")),
            (
                "byte 0: expected a member's header, got a damaged one "
                "(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff' for an octal number)"
            ),
        ),
        (
            raw((raw_header(b"a.jpg", b"-1\0"), b"")),
            (
                "byte 0: expected a member's header, got a damaged one "
                "(b'-1\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00' for an octal number)"
            ),
        ),
        (
            raw((raw_header(b"x", b"%011o\0" % 9, b"x"), b"nonsense!"), (raw_header(b"a.jpg"), b"four")),
            "byte 0: expected a member's header, got a damaged one (b'nonsense!' for a pax record)",
        ),
        (
            raw((raw_header(b"x", b"%011o\0" % 9, b"x"), b"9 size=x\n"), (raw_header(b"a.jpg"), b"four")),
            "byte 1,024: expected a member's header, got a damaged one (b'x' for a size)",
        ),
        (
            raw((raw_header(b"x", b"%011o\0" % (1 << 30), b"L"), b"")),
            "byte 0: expected a member's header, got a damaged one (1,073,741,824 bytes of name or pax records)",
        ),
        (
            raw((raw_header(b"x", b"%011o\0" % 2000, b"L"), b"")),
            (
                "byte 0: expected a member's header, got a damaged one (1024 of 2000 bytes of name or pax records: "
                "the tar is cut off)"
            ),
        ),
        (
            raw((raw_header(b"x", b"%011o\0" % 9, b"L"), b"name.jpg\0")),
            "byte 1,024: expected a member's header, got none",
        ),
    ],
)
def test_a_tar_that_cannot_be_read_to_its_end_is_one_sentence(store, data, line):
    assert refused(store, data) == line


def test_what_a_writer_left_behind_the_end_is_not_looked_at(store):
    assert scan(store, WHOLE[:3072] + END + b"left over from before" * 100).keys == ["a", "b"]


@settings(max_examples=200)
@given(at=st.integers(0, len(WHOLE[:3072]) - 1), value=st.integers(0, 255), cut=st.integers(0, len(WHOLE)))
def test_no_damage_is_anything_but_an_index_or_one_line(tmp_path_factory, at, value, cut):
    data = (WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])[:cut]
    store = ObjectStore(WatchedFolder(str(Path(tmp_path_factory.mktemp("damaged")))))
    try:
        index = scan(store, data)
    except DataError as error:
        said = str(error)
    else:
        said = ""
        places = [(columns.offsets, columns.sizes) for columns in index.members.values()]
        assert all((offsets + sizes <= len(data)).all() for offsets, sizes in places)
    assert "\n" not in said
