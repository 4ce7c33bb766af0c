"""The pure decisions of the stages: shard boundaries, sources, inheritance, the merge."""

from __future__ import annotations

import itertools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.boundaries import boundaries
from voxfleet_agent.stages.inherit import Part, earlier_attempts, own_parts, parse_part, usable
from voxfleet_agent.stages.merge import merge
from voxfleet_agent.stages.sources import parse_manifest, select
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import PrefixInput
from voxfleet_api.ranges import encode
from voxfleet_api.results import ClipStatus, ManifestRow, PartRef, ResultRow

MANIFEST = "file:///data/in/manifest.jsonl"


def clip(index: int, etag: str = "v1") -> ManifestRow:
    return ManifestRow(index=index, custom_id=f"c{index}", uri=f"file:///data/{index}.wav", size_bytes=1, etag=etag)


def row(index: int, *, etag: str = "v1", custom_id: str | None = None) -> ResultRow:
    return ResultRow(
        index=index, custom_id=custom_id or f"c{index}", status=ClipStatus.SUCCEEDED, text="one", etag=etag
    )


def part(*rows: ResultRow) -> Part:
    ref = PartRef(path=f"parts/s/1/{len(rows)}", sha256="0" * 64, indexes=encode(row.index for row in rows))
    return Part(ref, rows)


# Boundaries


@pytest.mark.parametrize(
    ("lengths", "target", "max_shards", "expected"),
    [
        ([], 10, 5, (0,)),
        ([0], 10, 5, (0, 1)),
        ([0, 0, 0], 10, 5, (0, 3)),
        ([5, 5, 5, 5], 10, 5, (0, 2, 4)),
        ([5, 5, 5, 5], 1, 2, (0, 2, 4)),
        ([100], 10, 5, (0, 1)),
        ([100, 1, 1], 10, 5, (0, 1, 3)),
        ([10, 0], 10, 5, (0, 2)),
        ([0, 10, 10], 10, 1, (0, 3)),
    ],
)
def test_boundaries(lengths: list[int], target: int, max_shards: int, expected: tuple[int, ...]) -> None:
    assert boundaries(lengths, target, max_shards) == expected


@given(st.lists(st.integers(0, 10_000), max_size=300), st.integers(1, 20_000), st.integers(1, 20))
def test_every_clip_is_in_exactly_one_shard_and_no_shard_is_empty(
    lengths: list[int], target: int, max_shards: int
) -> None:
    found = boundaries(lengths, target, max_shards)
    assert found[0] == 0
    assert found[-1] == len(lengths)
    assert list(found) == sorted(set(found))
    assert len(found) - 1 <= max_shards
    # A shard never holds more than its stretch and the one clip that began in it.
    stretch = max(target, -(-sum(lengths) // max_shards))
    for first, end in itertools.pairwise(found):
        assert sum(lengths[first:end]) - lengths[end - 1] <= stretch


# Sources


def test_a_manifest_s_lines_become_sources() -> None:
    lines = [{"id": "a", "uri": "a.wav", "sha256": "0" * 64}, {"id": "b", "uri": "s3://other/b.wav"}]
    content = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\n"
    first, second = parse_manifest(MANIFEST, content)
    assert (first.custom_id, first.uri, first.sha256) == ("a", "file:///data/in/a.wav", "0" * 64)
    assert (second.custom_id, second.uri, second.sha256) == ("b", "s3://other/b.wav", None)


@pytest.mark.parametrize(
    ("second_line", "words"),
    [
        (b"not json", "line 2 .*JSON"),
        (b'{"id": "b"}', "line 2 .*uri"),
        (b'{"uri": "b.wav"}', "line 2 .*id"),
        (b'{"id": "", "uri": "b.wav"}', "line 2 .*id"),
        (b'{"id": "b", "uri": "b.wav", "sha256": "123"}', "line 2 .*sha256"),
        (b'{"id": "b", "uri": "b.wav", "weight": 1}', "line 2 .*weight"),
        (b'{"id": "a", "uri": "b.wav"}', "line 2 .*id of line 1"),
        (b"\xff\xfe", "line 2 "),
    ],
)
def test_a_bad_manifest_line_is_named(second_line: bytes, words: str) -> None:
    with pytest.raises(VoxFleetError, match=words) as caught:
        parse_manifest(MANIFEST, b'{"id": "a", "uri": "private.wav"}\n' + second_line)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    assert "wav" not in caught.value.message


def test_patterns_are_about_the_last_part_of_a_name_and_hidden_files_stay_hidden() -> None:
    names = ["b.wav", "a/c.wav", "a/.x.wav", ".DS_Store", "d.mp3", "out/job-1/nonce.wav"]
    uri = "file:///data/in/"

    def ids(*include: str) -> list[str]:
        return [item.custom_id for item in select(PrefixInput(uri=uri, include=include), names, f"{uri}out/job-1")]

    assert ids("*.wav") == ["a/c.wav", "b.wav"]
    assert ids("*") == ["a/c.wav", "b.wav", "d.mp3"]
    assert ids(".*", "d.*") == [".DS_Store", "a/.x.wav", "d.mp3"]


def test_a_name_that_no_row_can_hold_is_told_before_anything_runs() -> None:
    names = ["a.wav", os.fsdecode(b"\xff.wav")]
    with pytest.raises(VoxFleetError, match="UTF-8") as caught:
        select(PrefixInput(uri="file:///data/in/", include=("*.wav",)), names, "file:///data/out")
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    assert len(select(PrefixInput(uri="file:///data/in/", include=("a.*",)), names, "file:///data/out")) == 1


# Inheritance


def test_attempts_with_a_base_are_tried_latest_first_and_only_earlier_ones() -> None:
    names = ["1/base.json", "10/base.json", "2/base.json", "3/part-000000-x.jsonl", "9/commit.json", "x/base.json"]
    assert earlier_attempts(names, 11) == [10, 2, 1]
    assert earlier_attempts(names, 10) == [2, 1]
    assert earlier_attempts(names, 1) == []


def test_own_parts_are_those_whose_name_holds_a_sha256() -> None:
    sha256 = "a" * 64
    names = [f"1/part-000000-{sha256}.jsonl", f"11/part-000000-{sha256}.jsonl", "1/part-000001-short.jsonl", "1/commit"]
    assert own_parts(names, "uid", 1) == [(f"parts/uid/1/part-000000-{sha256}.jsonl", sha256)]


CLIPS = {index: clip(index) for index in range(4)}


@pytest.mark.parametrize(
    "bad",
    [
        part(row(1, etag="v2")),
        part(row(1, custom_id="other")),
        part(row(9)),
        part(row(1), row(1)),
        part(row(1), row(0)),
        part(),
    ],
    ids=["another version", "another clip", "not of this shard", "a clip twice", "a clip taken already", "empty"],
)
def test_parts_that_do_not_fit_are_left_out_whole(bad: Part) -> None:
    first, last = part(row(0)), part(row(2), row(3))
    assert usable([first, bad, last], CLIPS) == [first, last]


def test_a_part_is_what_its_sha256_says() -> None:
    content = row(0).line() + row(2).line()
    assert parse_part("p", sha256_hex(content), content).ref.indexes == "0,2"
    with pytest.raises(VoxFleetError, match="p has sha256"):
        parse_part("p", "0" * 64, content)
    with pytest.raises(VoxFleetError, match="p holds a row"):
        parse_part("p", sha256_hex(b"{}\n"), b"{}\n")


# Merge


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
def test_the_order_of_arrival_does_not_matter(order: list[int], absent: set[int]) -> None:
    manifest = [clip(index) for index in range(5)]
    rows = [row(index) for index in order if index not in absent]
    merged = merge("uid", "0" * 64, manifest, rows, sorted(absent))
    straight = merge("uid", "0" * 64, manifest, sorted(rows, key=lambda item: item.index), sorted(absent))
    assert merged == straight
    assert [item.index for item in merged.rows] == list(range(5))


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=4))
def test_a_merge_succeeds_only_with_one_row_a_clip(indexes: list[int], absent: list[int]) -> None:
    manifest = [clip(index) for index in range(4)]
    rows = [row(index) for index in indexes]
    if sorted(indexes + absent) == [0, 1, 2, 3]:
        assert len(merge("uid", "0" * 64, manifest, rows, absent).rows) == 4
    else:
        with pytest.raises(VoxFleetError, match="one row a clip"):
            merge("uid", "0" * 64, manifest, rows, absent)


@pytest.mark.parametrize("wrong", [row(1, etag="v2"), row(1, custom_id="other")])
def test_a_row_of_another_clip_or_version_is_refused(wrong: ResultRow) -> None:
    with pytest.raises(VoxFleetError, match="index 1 is of another clip"):
        merge("uid", "0" * 64, [clip(0), clip(1)], [row(0), wrong], [])
