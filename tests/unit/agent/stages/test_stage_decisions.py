"""The pure decisions of the stages: shard boundaries, input clips, inherited parts, the merge."""

from __future__ import annotations

import asyncio
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_agent.stages.finalize import merge
from voxfleet_agent.stages.finalize.merge import RowOffsets, require_one_row_each
from voxfleet_agent.stages.frozen_plan import ManifestSlice, ManifestStream
from voxfleet_agent.stages.plan.sharding import shard_boundaries
from voxfleet_agent.stages.process.inherited_parts import Part, earlier_attempts, parse_part, uploaded_parts, usable
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Retries
from voxfleet_api.ranges import encode
from voxfleet_api.results import PartRef
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow


def clip(index: int, etag: str = "v1") -> ManifestRow:
    return ManifestRow(index=index, custom_id=f"c{index}", uri=f"file:///data/{index}.wav", size_bytes=1, etag=etag)


def row(index: int, *, etag: str = "v1", custom_id: str | None = None, text: str = "one") -> ResultRow:
    return ResultRow(index=index, custom_id=custom_id or f"c{index}", status=ClipStatus.SUCCEEDED, text=text, etag=etag)


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
    assert shard_boundaries(lengths, target, max_shards) == expected


@pytest.mark.parametrize(
    ("lengths", "target", "min_shards", "expected"),
    [
        ([5, 5, 5, 5], 100, 2, (0, 2, 4)),
        ([5, 5, 5, 5], 100, 3, (0, 1, 3, 4)),
        ([5, 5, 5, 5], 5, 2, (0, 1, 2, 3, 4)),  # shards that are short enough stay as they are
        ([10, 10, 1000], 5000, 2, (0, 2, 3)),
        ([1000, 10, 10], 5000, 2, (0, 1, 3)),
        ([100], 1000, 4, (0, 1)),
        ([0, 0], 1000, 2, (0, 2)),
    ],
)
def test_boundaries_for_several_lanes(
    lengths: list[int], target: int, min_shards: int, expected: tuple[int, ...]
) -> None:
    assert shard_boundaries(lengths, target, 1000, min_shards) == expected


@given(st.lists(st.just(3000), min_size=8, max_size=300), st.integers(1, 8))
def test_clips_of_one_length_give_every_lane_a_shard_of_about_the_same_size(lengths: list[int], lanes: int) -> None:
    found = shard_boundaries(lengths, 10**9, 1000, lanes)
    sizes = [end - first for first, end in itertools.pairwise(found)]
    assert len(sizes) == lanes and max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(0, 10_000), max_size=300), st.integers(1, 20_000), st.integers(1, 20))
def test_every_clip_is_in_exactly_one_shard_and_no_shard_is_empty(
    lengths: list[int], target: int, max_shards: int
) -> None:
    found = shard_boundaries(lengths, target, max_shards)
    assert found[0] == 0
    assert found[-1] == len(lengths)
    assert list(found) == sorted(set(found))
    assert len(found) - 1 <= max_shards
    # A shard never holds more than its interval and the one clip that begins in it.
    interval = max(target, -(-sum(lengths) // max_shards))
    for first, end in itertools.pairwise(found):
        assert sum(lengths[first:end]) - lengths[end - 1] <= interval


# Inherited parts


def test_attempts_with_a_base_are_tried_latest_first_and_only_earlier_ones() -> None:
    names = ["1/base.json", "10/base.json", "2/base.json", "3/part-000000-x.jsonl", "9/commit.json", "x/base.json"]
    assert earlier_attempts(names, 11) == [10, 2, 1]
    assert earlier_attempts(names, 10) == [2, 1]
    assert earlier_attempts(names, 1) == []


def test_uploaded_parts_are_those_whose_name_holds_a_sha256() -> None:
    sha256 = "a" * 64
    names = [f"1/part-000000-{sha256}.jsonl", f"11/part-000000-{sha256}.jsonl", "1/part-000001-short.jsonl", "1/commit"]
    assert uploaded_parts(names, "uid", 1) == [(f"parts/uid/1/part-000000-{sha256}.jsonl", sha256)]


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
    ids=[
        "another version",
        "another clip",
        "not of this shard",
        "a clip twice",
        "a clip that has a row already",
        "empty",
    ],
)
def test_a_part_with_one_unusable_row_is_left_out_whole(bad: Part) -> None:
    assert not usable(bad, CLIPS, {0})
    assert usable(part(row(2), row(3)), CLIPS, {0})


def test_a_part_must_match_its_sha256() -> None:
    content = row(0).line() + row(2).line()
    assert parse_part("p", sha256_hex(content), content).ref.indexes == "0,2"
    with pytest.raises(VoxFleetError, match="p has sha256"):
        parse_part("p", "0" * 64, content)
    with pytest.raises(VoxFleetError, match="p holds a row"):
        parse_part("p", sha256_hex(b"{}\n"), b"{}\n")


# Merge


def part_of(*rows: ResultRow, indexes: tuple[int, ...] | None = None) -> tuple[PartRef, bytes]:
    content = b"".join(row.line() for row in rows)
    named = tuple(row.index for row in rows) if indexes is None else indexes
    return PartRef(path="p", sha256=sha256_hex(content), indexes=encode(named)), content


def offsets_of(total: int, *parts: tuple[PartRef, bytes]) -> RowOffsets:
    offsets = RowOffsets(total, [ref for ref, _ in parts], [len(content) for _, content in parts])
    for number, (_, content) in enumerate(parts):
        offsets.add_part(number, content)
    return offsets


@given(st.permutations(range(8)), st.integers(1, 8), st.sets(st.integers(0, 7)))
def test_every_row_is_located_whichever_part_holds_it(order: list[int], part_rows: int, absent: set[int]) -> None:
    there = [index for index in order if index not in absent]
    groups = [sorted(there[start : start + part_rows]) for start in range(0, len(there), part_rows)]
    parts = [part_of(*(row(index, text="x" * index) for index in group)) for group in groups]
    offsets, content = offsets_of(8, *parts), b"".join(content for _, content in parts)
    assert offsets.size_bytes == len(content)
    for index in range(8):
        offset, size_bytes = offsets.locate(index)
        line = content[offset : offset + size_bytes]
        assert line == (b"" if index in absent else row(index, text="x" * index).line())
        if line:
            assert offsets.parse_row(line, clip(index)).index == index


@pytest.mark.parametrize("indexes", [(0, 1, 2), (0,)])
def test_a_part_with_more_or_fewer_rows_than_its_commit_names_is_refused(indexes: tuple[int, ...]) -> None:
    with pytest.raises(VoxFleetError, match="p holds other clips than its commit names"):
        offsets_of(3, part_of(row(0), row(1), indexes=indexes))


def test_a_part_whose_rows_are_of_other_clips_is_refused() -> None:
    offsets = offsets_of(3, part_of(row(0), row(2), indexes=(0, 1)))
    with pytest.raises(VoxFleetError, match="p holds other clips than its commit names"):
        offsets.parse_row(row(2).line(), clip(1))


@given(st.lists(st.integers(1, 40), max_size=30))
def test_ranges_hold_every_clip_once_and_few_bytes(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "ROWS_AT_A_TIME", 4)
        patch.setattr(merge, "BYTES_AT_A_TIME", 3000)
        rows = [row(index, text="x" * size * 40) for index, size in enumerate(sizes)]
        offsets = offsets_of(len(rows), *(part_of(one) for one in rows))
        ranges = list(offsets.ranges())
    assert [index for indexes in ranges for index in indexes] == list(range(len(sizes)))
    for indexes in ranges:
        assert len(indexes) == 1 or (len(indexes) <= 4 and sum(offsets.locate(index)[1] for index in indexes) <= 3000)


@given(st.lists(st.integers(0, 5), max_size=8))
def test_commits_must_name_each_clip_once(indexes: list[int]) -> None:
    if sorted(indexes) == [0, 1, 2, 3]:
        require_one_row_each(4, indexes)
    else:
        with pytest.raises(VoxFleetError, match="one row a clip"):
            require_one_row_each(4, indexes)


@pytest.mark.parametrize("wrong", [row(1, etag="v2"), row(1, custom_id="other")])
def test_a_row_of_another_clip_or_version_is_refused(wrong: ResultRow) -> None:
    with pytest.raises(VoxFleetError, match="index 1 is of another clip"):
        offsets_of(2, part_of(row(0), wrong)).parse_row(wrong.line(), clip(1))


# The manifest


@settings(max_examples=50)
@given(st.integers(0, 12), st.integers(30, 300), st.lists(st.integers(0, 14), max_size=5))
def test_a_manifest_is_read_in_slices_whatever_its_blocks(count: int, block: int, stops: list[int]) -> None:
    content = b"".join(clip(index).line() for index in range(count))

    async def read() -> None:
        stream = ManifestStream(InBlocks(content, block), Retrier(Retries()))
        position = 0
        for number, stop in enumerate(sorted(stops)):
            if number % 3 == 2:
                await stream.skip_to(stop)
            else:
                rows = dict(await stream.read_to(stop))
                assert rows == {index: clip(index) for index in range(position, min(stop, count))}
            position = max(position, min(stop, count))
        await stream.require_sha256(sha256_hex(content))

    asyncio.run(read())


class InBlocks(io.BytesIO):
    """Returns at most `block` bytes at a time, whatever size is asked for."""

    def __init__(self, content: bytes, block: int) -> None:
        super().__init__(content)
        self.block = block

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.block)


async def test_another_manifest_is_detected_by_its_sha256() -> None:
    stream = ManifestStream(io.BytesIO(clip(0).line()), Retrier(Retries()))
    await stream.read_to(1)
    with pytest.raises(VoxFleetError, match=r"manifest\.jsonl has sha256") as caught:
        await stream.require_sha256("0" * 64)
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH


def test_a_slice_contains_its_own_clips_only() -> None:
    rows = ManifestSlice(clip(2).line() + clip(3).line(), first=2)
    assert dict(rows) == {2: clip(2), 3: clip(3)} and 1 not in rows and 4 not in rows
    with pytest.raises(KeyError):
        rows[4]


@pytest.mark.parametrize("content", [clip(1).line(), b"{}\n", b"\n", b"\xff\n"])
def test_a_line_that_is_not_the_row_of_its_clip_is_a_mismatch(content: bytes) -> None:
    with pytest.raises(VoxFleetError, match=r"manifest\.jsonl") as caught:
        ManifestSlice(content)[0]
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH
