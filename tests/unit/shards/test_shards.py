"""Shards: the same bytes for the same samples, open to any WebDataset reader, every sample one range read away."""

import io
import json
import tarfile

import numpy as np
import pytest
import webdataset
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from watched_store import WatchedFolder

from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.shards.sample import Sample, key_fraction
from rayograph.shards.shard_index import Members, ShardIndex, index_name
from rayograph.shards.store import GAP_BYTES, find_index, put_shard, read_index, read_samples, shard_files, shard_name
from rayograph.shards.tar import write_shard
from rayograph.storage import ObjectStore, open_store

KEYS = st.text(st.characters(exclude_characters="/.\0", exclude_categories=["Cs"]), min_size=1, max_size=120)
AWKWARD_KEYS = [
    "a",
    "with space",
    "ünïcödé-数字",
    "k" * 99,
    "k" * 100,
    "long" * 60,
    "folder/" * 40 + "deep",
    "-",
    "%41",
]


@pytest.fixture
def artifact(tmp_path):
    return Artifact(ObjectStore(WatchedFolder(str(tmp_path))), "job/stage/key")


def samples_of(keys, sizes=None):
    draw = np.random.default_rng(0)
    sizes = draw.integers(0, 3000, len(keys)) if sizes is None else sizes
    return [
        Sample(key, {"png": draw.bytes(int(size)), "cls": str(number).encode()})
        for number, (key, size) in enumerate(zip(keys, sizes, strict=True))
    ]


def contents(index, data):
    """What the index says that the tar's bytes hold."""
    samples = [Sample(key, {}) for key in index.keys]
    for extension, columns in index.members.items():
        for sample, offset, size in zip(samples, columns.offsets, columns.sizes, strict=True):
            if size >= 0:
                sample.members[extension] = data[offset : offset + size]
    return samples


@settings(max_examples=50)
@given(st.dictionaries(KEYS, st.tuples(st.binary(max_size=1100), st.binary(max_size=5)), min_size=1, max_size=6))
def test_the_index_points_at_every_members_bytes_and_the_tar_holds_the_same(drawn):
    samples = [Sample(key, {"png": image, "cls": label}) for key, (image, label) in drawn.items()]
    data, index = write_shard(samples)
    assert contents(index, data) == samples
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = {member.name: tar.extractfile(member).read() for member in tar}
    assert read == {f"{s.key}.{ext}": value for s in samples for ext, value in s.members.items()}


def test_identical_samples_make_identical_bytes_whatever_the_order_of_their_members():
    samples = samples_of(AWKWARD_KEYS)
    data, index = write_shard(samples)
    again, index_again = write_shard([Sample(s.key, dict(reversed(s.members.items()))) for s in samples])
    assert again == data
    assert index_again.to_bytes() == index.to_bytes()


def written_before(samples):
    """A shard as stores that exist hold it: what plain tarfile makes of the same members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            for extension, data in sorted(sample.members.items()):
                header = tarfile.TarInfo(f"{sample.key}.{extension}")
                header.size, header.mode = len(data), 0o644
                tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


MEMBERS = st.dictionaries(
    st.sampled_from(["png", "cls", "txt", "json", "mask.png", "_kept", "größe"]), st.binary(max_size=2000), max_size=4
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS | st.sampled_from(AWKWARD_KEYS), MEMBERS, max_size=8))
def test_shards_have_the_bytes_that_they_always_had(drawn):
    samples = [Sample(key, members) for key, members in drawn.items()]
    assert write_shard(samples)[0] == written_before(samples)


def test_a_shards_bytes_are_pinned():
    """Another Python or webdataset that writes others would make artifacts of another digest."""
    keys = [*AWKWARD_KEYS, *("a" * n for n in (95, 96, 97, 155, 156, 300, 5000))]
    data, _ = write_shard([Sample(key, {"png": key.encode() * 7, "txt": b""}) for key in keys])
    digest = "e8be5a03605b0297e09d35fae854c1ef0ac85552e1470cde92ae9bb19dacb6f3"
    assert (len(data), sha256(data)) == (102_400, digest)


def test_headers_say_nothing_of_who_wrote_them_and_when():
    data, _ = write_shard(samples_of(AWKWARD_KEYS))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


def test_the_index_knows_the_shards_size_and_digest():
    data, index = write_shard(samples_of(["a", "b"]), {"rejected": ["c"]})
    assert (index.size, index.sha256, len(index)) == (len(data), sha256(data), 2)
    assert index.facts == {"rejected": ["c"]}


def test_the_webdataset_package_reads_every_sample_that_we_write(artifact, tmp_path):
    samples = samples_of(AWKWARD_KEYS)
    put_shard(artifact, "shards/a.tar", samples)
    path = tmp_path / "job/stage/key/shards/a.tar"
    read = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [row["__key__"] for row in read] == [s.key for s in samples]
    assert [{"png": row["png"], "cls": row["cls"]} for row in read] == [s.members for s in samples]


def test_samples_need_not_have_the_same_members(artifact):
    samples = [Sample("a", {"png": b"x"}), Sample("b", {"cls": b"1", "txt": b""}), Sample("c", {"png": b"y"})]
    index = put_shard(artifact, "a.tar", samples)
    assert contents(index, artifact.read("a.tar")) == samples
    assert index.members["png"].sizes.tolist() == [1, -1, 1]
    assert [index.members[extension].complete for extension in ("cls", "png", "txt")] == [False] * 3
    for rows in ([0, 1, 2], [1], [2, 0]):
        assert read_samples(artifact, "a.tar", index, rows) == [samples[row] for row in rows]


@pytest.mark.parametrize("key", ["", "a.b", "a/b.c", "/a", "../a", "a/../b", "a\0b"])
def test_a_key_that_readers_would_not_find_again_is_refused(key):
    with pytest.raises(DataError, match="expected a relative name without a dot in its last part"):
        write_shard([Sample(key, {"png": b"x"})])


def test_a_key_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="sample b: expected keys that differ, got this one twice"):
        write_shard(samples_of(["a", "b", "b"]))


def test_the_index_has_every_members_checksum():
    data, index = write_shard(samples_of(AWKWARD_KEYS))
    for extension in index.members:
        expected = [xxhash.xxh3_64_intdigest(sample.members[extension]) for sample in contents(index, data)]
        assert index.members[extension].checksums.tolist() == expected


def test_bytes_that_are_not_those_once_written_are_noticed_and_named(artifact):
    samples = samples_of(["a", "b"], [500, 500])
    index = put_shard(artifact, "a.tar", samples)
    data = bytearray(artifact.read("a.tar"))
    data[int(index.members["png"].offsets[1]) + 7] ^= 1
    artifact.write("a.tar", bytes(data))
    assert read_samples(artifact, "a.tar", index, [0]) == samples[:1]
    with pytest.raises(DataError, match=r"a\.tar: sample b: its \.png differs from what was indexed \(checksum\)"):
        read_samples(artifact, "a.tar", index, [1, 0])


def test_an_index_comes_back_from_its_bytes():
    _, index = write_shard(samples_of(AWKWARD_KEYS), {"sum": [0.1, 1e-30], "shape": [3, 8, 8]})
    again = ShardIndex.from_bytes(index.to_bytes(), "here")
    assert again.to_bytes() == index.to_bytes()
    assert (again.size, again.sha256, again.keys, again.facts) == (index.size, index.sha256, index.keys, index.facts)
    for extension, columns in index.members.items():
        for name, dtype in (("offsets", np.int64), ("sizes", np.int64), ("checksums", np.uint64)):
            column = getattr(again.members[extension], name)
            np.testing.assert_array_equal(column, getattr(columns, name))
            assert column.dtype == dtype


def test_the_index_that_stands_is_the_one_that_is_returned(tmp_path):
    """Two writers of one shard, whose sums differ by rounding: the manifest must list what is there."""
    artifact = Artifact(open_store(str(tmp_path)), "x")
    first = put_shard(artifact, "a.tar", samples_of(["a"]), {"sum": 0.1})
    for samples in (samples_of(["a"]), samples_of(["a", "b"])):
        again = put_shard(artifact, "a.tar", samples, {"sum": 0.2})
        assert again.to_bytes() == first.to_bytes() == artifact.read("a.index")


def test_an_index_without_samples_comes_back():
    _, index = write_shard([])
    assert len(ShardIndex.from_bytes(index.to_bytes(), "here")) == 0


HEADER = {"format": 1, "bytes": 2048, "sha256": "f", "samples": 2, "facts": {}}
COLUMNS = {
    "keys": np.frombuffer(b"a\0b", np.uint8),
    "offsets.png": np.array([0, 512]),
    "sizes.png": np.array([1, 1]),
    "checksums.png": np.array([3, 4], np.uint64),
}


def index_bytes(header=None, **columns):
    """An index's bytes with some of its header or columns changed; None leaves a column out."""
    changed = {name: column for name, column in (COLUMNS | columns).items() if column is not None}
    return save(changed, {"index": json.dumps(HEADER if header is None else header)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"\x02\0\0\0\0\0\0\0{}",
        b"\xff" * 8,
        save(COLUMNS),
        save(COLUMNS, {"index": "{"}),
        save(COLUMNS, {"index": "null"}),
        index_bytes()[:-1],
        *(index_bytes({k: v for k, v in HEADER.items() if k != name}) for name in HEADER),
        *(index_bytes(HEADER | changes) for changes in ({"format": 2}, {"samples": 3}, {"samples": "two"})),
        *(index_bytes(**{name: None}) for name in ("keys", "sizes.png", "checksums.png")),
        *(index_bytes(**{name: column[:1]}) for name, column in COLUMNS.items()),
        index_bytes(keys=np.frombuffer(b"\xff\0b", np.uint8)),
        *(index_bytes(HEADER | {"bytes": size}) for size in (-1, 100, 1 << 62, 1e9, True, "9")),
        *(index_bytes(HEADER | {"facts": facts}) for facts in (None, {"rejected": [1]}, {"rejected": [{"key": "a"}]})),
        *(index_bytes(**{"offsets.png": np.array([0, place])}) for place in (-1, 2048, 2**63 - 1)),
        *(index_bytes(**{"sizes.png": np.array([1, size])}) for size in (-2, 2048, 2**63 - 1)),
        index_bytes(**{"sizes.png": np.array([1, 1], np.uint64)}),
        index_bytes().replace(b'"shape":[2]', b'"shape":[9]', 1),
        index_bytes({**HEADER, "facts": {}}).replace(b'"facts\\": {}', b'"facts\\": 77'),
        (lambda head: len(head).to_bytes(8, "little") + head)(b"[" * 500_000),
        (2**63).to_bytes(8, "little") + b"{}",
    ],
)
def test_anything_but_an_index_is_refused_with_its_place(data):
    assert ShardIndex.from_bytes(index_bytes(), "good").keys == ["a", "b"]
    with pytest.raises(DataError, match=r"^s3://somewhere/x\.index: "):
        ShardIndex.from_bytes(data, "s3://somewhere/x.index")


def test_a_shards_index_lies_beside_it():
    assert index_name(shard_name("train", 7)) == "shards/train-000007.index"


def test_shards_of_a_split_sort_by_their_number():
    names = [shard_name("train", number) for number in (0, 9, 10, 99_999, 999_999)]
    assert sorted(names) == names


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, 39), max_size=60))
def test_samples_come_in_the_order_asked_with_repetitions(tmp_path_factory, rows):
    artifact = Artifact(ObjectStore(WatchedFolder(str(tmp_path_factory.mktemp("shard")))), "")
    samples = samples_of([f"s{n}" for n in range(40)])
    index = put_shard(artifact, "a.tar", samples)
    assert read_samples(artifact, "a.tar", index, rows) == [samples[row] for row in rows]


def test_rows_may_be_a_range_an_array_or_none_at_all(artifact):
    samples = samples_of(["a", "b", "c"])
    index = put_shard(artifact, "a.tar", samples)
    assert read_samples(artifact, "a.tar", index, range(1, 3)) == samples[1:]
    assert read_samples(artifact, "a.tar", index, np.array([2, 0])) == [samples[2], samples[0]]
    artifact.store.backend.ranges.clear()
    assert read_samples(artifact, "a.tar", index, []) == []
    assert artifact.store.backend.ranges == []


def test_neighbouring_samples_are_read_in_one_range_and_distant_ones_each_in_its_own(artifact):
    big = GAP_BYTES + 4096
    samples = samples_of(list("abcdefgh"), [100, 200, 300, big, 100, big, 100, 100])
    index = put_shard(artifact, "a.tar", samples)
    asked = artifact.store.backend.ranges

    def ranges(rows):
        asked.clear()
        assert read_samples(artifact, "a.tar", index, rows) == [samples[row] for row in rows]
        return sorted(asked)

    assert len(ranges([2, 0, 1])) == 1
    assert len(ranges([7, 4, 0])) == 3
    assert len(ranges([4, 4, 4])) == 1
    assert len(ranges(range(8))) == 1
    assert sum(length for _, length in ranges([0, 4, 7])) < big


def test_a_sample_whose_members_lie_far_apart_is_read_whole_with_others_between_them(artifact):
    data = np.random.default_rng(0).bytes(400_000)
    places = {"png": [0, 100, 250_000], "cls": [399_990, 150, 250_500]}
    members = {
        ext: Members.of([(at, 10, xxhash.xxh3_64_intdigest(data[at : at + 10])) for at in rows])
        for ext, rows in places.items()
    }
    index = ShardIndex(len(data), "", ["a", "b", "c"], members)
    artifact.write("a.tar", data)
    for rows in ([0, 1, 2], [2, 1], [1, 0], [2, 0]):
        found = read_samples(artifact, "a.tar", index, rows)
        assert found == [contents(index, data)[row] for row in rows]


def test_a_shard_is_there_only_once_its_index_is(artifact):
    samples = samples_of(["a"])
    data, _ = write_shard(samples)
    artifact.write("a.tar", data)
    assert find_index(artifact, "a.tar") is None
    with pytest.raises(MissingObjectError):
        read_index(artifact, "a.tar")
    index = put_shard(artifact, "a.tar", samples)
    assert find_index(artifact, "a.tar").to_bytes() == read_index(artifact, "a.tar").to_bytes() == index.to_bytes()


def test_what_the_manifest_will_say_of_a_shard_is_what_the_store_holds(artifact):
    index = put_shard(artifact, "shards/a.tar", samples_of(["a", "b"]))
    files, shard = shard_files(artifact, "shards/a.tar", "train", index)
    assert sorted(files, key=lambda f: f.path) == sorted(artifact.records("shards/"), key=lambda f: f.path)
    assert (shard.path, shard.split, shard.samples) == ("shards/a.tar", "train", 2)


def test_key_fractions_are_even_and_fixed_for_good():
    fractions = np.sort([key_fraction(f"digit-{number:05d}") for number in range(4000)])
    assert np.abs(fractions - np.arange(4000) / 4000).max() < 0.03
    assert key_fraction("digit-00000") == int(sha256(b"digit-00000")[:16], 16) / 2**64


def test_where_another_shard_is_there_already_the_index_describes_that_one(artifact):
    first, second = samples_of(["a", "b", "c"]), samples_of(["a", "b", "c"], [1, 2, 3])
    data, _ = write_shard(first)
    artifact.write(shard_name("samples", 0), data)  # its writer died before the index
    index = put_shard(artifact, shard_name("samples", 0), second, {"of": "the second"})
    assert (index.size, index.sha256) == (len(data), sha256(data))
    assert index.facts == {"of": "the second"}
    assert read_index(artifact, shard_name("samples", 0)).to_bytes() == index.to_bytes()
    assert read_samples(artifact, shard_name("samples", 0), index, range(3)) == first


def test_a_second_writer_with_other_bytes_changes_nothing_and_is_told_what_is_there(artifact):
    first = samples_of(["a", "b"])
    index = put_shard(artifact, shard_name("samples", 0), first)
    again = put_shard(artifact, shard_name("samples", 0), samples_of(["a", "b"], [4, 4]))
    assert (again.size, again.sha256, again.keys) == (index.size, index.sha256, index.keys)
    assert read_samples(artifact, shard_name("samples", 0), again, range(2)) == first
    assert find_index(artifact, shard_name("samples", 0)).to_bytes() == index.to_bytes()
