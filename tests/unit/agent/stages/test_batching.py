"""Clips of similar length share a batch, and the lane never sits idle to wait for a fuller one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.process.batching import (
    UNKNOWN_LENGTH,
    ReadyClips,
    bucket_of,
    choose_bucket,
    edge_milliseconds,
    sort_into_buckets,
)
from voxfleet_agent.stages.process.prefetch import PrefetchWindow, WindowLimits

DAY_MILLISECONDS = 24 * 3_600_000

# Buckets


@given(st.integers(1, DAY_MILLISECONDS))
def test_a_bucket_s_shortest_clip_is_at_most_a_fifth_shorter_than_its_longest(milliseconds: int) -> None:
    bucket = bucket_of(milliseconds)
    assert milliseconds <= edge_milliseconds(bucket)
    if bucket > 0:
        assert milliseconds > edge_milliseconds(bucket - 1) >= edge_milliseconds(bucket) / 1.26


def test_a_day_of_lengths_has_few_buckets() -> None:
    assert bucket_of(1) == bucket_of(1000) == 0
    assert bucket_of(1001) == bucket_of(1250) == 1
    assert bucket_of(DAY_MILLISECONDS) < 60
    assert bucket_of(0) == UNKNOWN_LENGTH


@given(st.lists(st.integers(0, 60_000), max_size=50))
def test_clips_are_sorted_by_length_and_unknown_ones_come_last(lengths: list[int]) -> None:
    buckets = sort_into_buckets(enumerate(lengths))
    order = [index for indexes in buckets.values() for index in indexes]
    assert sorted(order) == list(range(len(lengths)))
    known = [lengths[index] for index in order if lengths[index]]
    assert known == sorted(known)
    assert [lengths[index] for index in order[len(known) :]] == [0] * (len(lengths) - len(known))
    assert all({bucket_of(lengths[index]) for index in indexes} == {bucket} for bucket, indexes in buckets.items())


# Which batch is next


@pytest.mark.parametrize(
    ("ready", "awaited", "in_lane", "fetching", "expected"),
    [
        ({}, {0: 3}, 0, 3, None),
        ({0: 4}, {0: 9}, 4, 3, 0),
        ({0: 3}, {0: 9}, 4, 3, None),
        ({0: 3}, {0: 9}, 0, 3, 0),
        ({0: 3}, {0: 9}, 4, 0, 0),
        ({0: 3}, {0: 0}, 4, 3, 0),
        ({0: 1, 1: 4}, {0: 0, 1: 0}, 4, 3, 1),
        ({0: 1, 1: 3}, {0: 5, 1: 5}, 0, 3, 1),
        ({0: 0, 1: 1}, {0: 5, 1: 5}, 0, 3, 1),
    ],
    ids=[
        "nothing is ready",
        "a whole batch",
        "a busy lane waits for the rest",
        "an idle lane takes what there is",
        "no fetch is under way, so nothing better comes",
        "the bucket's last clips",
        "whole batches before a bucket's last clips",
        "the fullest one for an idle lane",
        "an empty bucket is none",
    ],
)
def test_the_next_batch(
    ready: dict[int, int], awaited: dict[int, int], in_lane: int, fetching: int, expected: int | None
) -> None:
    assert choose_bucket(ready, awaited, 4, in_lane=in_lane, fetching=fetching) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40), st.integers(1, 5), st.integers(0, 2**32))
def test_every_fetched_clip_is_in_one_batch(clips: list[tuple[int, bool]], size: int, seed: int) -> None:
    """Clips are added or dropped in any order, and verdicts come at any time."""
    chance = random.Random(seed)  # noqa: S311 -- a test's order

    async def run() -> list[list[tuple[int, int]]]:
        ready = ReadyClips[tuple[int, int]](Counter(bucket for bucket, _ in clips), lambda: size)
        batches: list[list[tuple[int, int]]] = []

        async def fetch() -> None:
            for number in chance.sample(range(len(clips)), len(clips)):
                ready.start_fetch()
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                bucket, arrives = clips[number]
                if arrives:
                    ready.add(bucket, (bucket, number))
                else:
                    ready.drop(bucket)

        async def give_verdicts(batch: list[tuple[int, int]]) -> None:
            await asyncio.sleep(0)
            for _ in batch:
                ready.verdict_received()

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(fetch())
            async for batch in ready.batches():
                batches.append(batch)
                group.create_task(give_verdicts(batch))
        return batches

    batches = asyncio.run(run())
    assert sorted(clip for batch in batches for clip in batch) == sorted(
        (bucket, number) for number, (bucket, arrives) in enumerate(clips) if arrives
    )
    assert all(0 < len(batch) <= size and len({bucket for bucket, _ in batch}) == 1 for batch in batches)


async def test_a_smaller_batch_size_counts_from_the_next_batch_on() -> None:
    size = 4
    ready = ReadyClips[int]({0: 8}, lambda: size)
    for number in range(8):
        ready.start_fetch()
        ready.add(0, number)
    batches = ready.batches()
    assert await anext(batches) == [0, 1, 2, 3]
    size = 1
    assert await anext(batches) == [4]
    await batches.aclose()


# The window


LIMITS = WindowLimits(audio_milliseconds=1000, min_clips=2, max_clips=4, bytes=100)


async def waits(window: PrefetchWindow, audio_milliseconds: int, size_bytes: int) -> asyncio.Task[None]:
    """A call of `acquire` that finds no room."""
    waiting = asyncio.create_task(window.acquire(audio_milliseconds, size_bytes))
    await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


async def test_the_window_is_bounded_by_bytes() -> None:
    window = PrefetchWindow(LIMITS)
    await window.acquire(1, 40)
    await window.acquire(1, 60)
    third = await waits(window, 1, 1)
    window.release(1, 40)
    await third


async def test_the_window_is_bounded_by_audio_but_holds_enough_clips_for_batches() -> None:
    window = PrefetchWindow(LIMITS)
    await window.acquire(800, 1)
    await window.acquire(800, 1)
    third = await waits(window, 100, 1)
    window.release(800, 1)
    await third
    fourth = await waits(window, 101, 1)
    window.release(100, 1)
    await fourth


async def test_the_window_is_bounded_by_count() -> None:
    window = PrefetchWindow(LIMITS)
    for _ in range(4):
        await window.acquire(1, 1)
    fifth = await waits(window, 1, 1)
    window.release(1, 1)
    await fifth


async def test_a_clip_larger_than_the_window_passes_alone() -> None:
    window = PrefetchWindow(LIMITS)
    await window.acquire(5000, 500)
    small = await waits(window, 1, 1)
    window.release(5000, 500)
    await small
