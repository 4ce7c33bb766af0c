"""The work queue keeps client-go's promises."""

from __future__ import annotations

import asyncio

import pytest

from voxfleet_operator.queue import Key, QueueClosed, WorkQueue

A = Key("AudioBatchJob", "calls", "a")
B = Key("AudioBatchJob", "calls", "b")


class HandClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def queue(clock: HandClock) -> WorkQueue:
    queue = WorkQueue(clock, initial_backoff_seconds=1.0, max_backoff_seconds=10.0)
    queue.start()
    return queue


@pytest.fixture
def running() -> WorkQueue:
    """By the real clock."""
    queue = WorkQueue()
    queue.start()
    return queue


async def test_many_adds_before_the_work_starts_are_one(queue: WorkQueue) -> None:
    for _ in range(3):
        queue.add(A)
    queue.add(B)
    assert queue.depth == 2
    assert [await queue.get(), await queue.get()] == [A, B]
    assert queue.adds.total() == 2


async def test_a_key_added_while_in_work_runs_again_afterwards_and_never_beside_itself(queue: WorkQueue) -> None:
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    queue.add(A)
    assert queue.depth == 0
    queue.done(A)
    assert queue.depth == 1
    assert await queue.get() == A
    queue.done(A)
    assert queue.depth == 0


async def test_backoff_doubles_per_key_up_to_its_cap_and_forget_resets_it(queue: WorkQueue) -> None:
    assert [queue.add_rate_limited(A) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert queue.add_rate_limited(B) == 1.0
    queue.forget(A)
    assert queue.add_rate_limited(A) == 1.0
    assert queue.retries.total() == 8


async def test_backoff_of_a_key_that_failed_for_days_does_not_overflow(queue: WorkQueue) -> None:
    assert [queue.add_rate_limited(A) for _ in range(3000)][-1] == 10.0


async def test_a_delayed_key_is_ready_when_it_is_due(queue: WorkQueue, clock: HandClock) -> None:
    queue.add_after(A, 5.0)
    clock.seconds += 4.9
    queue.tick()
    assert queue.depth == 0
    clock.seconds += 0.1
    queue.tick()
    assert queue.depth == 1


async def test_of_two_delays_the_earlier_stands(queue: WorkQueue, clock: HandClock) -> None:
    queue.add_after(A, 9.0)
    queue.add_after(A, 5.0)
    queue.add_after(A, 7.0)
    clock.seconds += 5.0
    queue.tick()
    assert await queue.get() == A
    queue.done(A)
    clock.seconds += 100.0
    queue.tick()
    assert queue.depth == 0


async def test_no_delay_means_now(queue: WorkQueue) -> None:
    queue.add_after(A, 0)
    assert queue.depth == 1


async def test_a_waiting_worker_is_woken_by_an_add(running: WorkQueue) -> None:
    worker = asyncio.create_task(running.get())
    await asyncio.sleep(0)
    running.add(A)
    assert await worker == A


async def test_a_waiting_worker_is_woken_by_a_shorter_delay(running: WorkQueue) -> None:
    running.add_after(A, 3600)
    worker = asyncio.create_task(running.get())
    await asyncio.sleep(0)
    running.add_after(B, 0.01)
    assert await worker == B


async def test_two_waiting_workers_both_get_a_key(running: WorkQueue) -> None:
    workers = [asyncio.create_task(running.get()) for _ in range(2)]
    await asyncio.sleep(0)
    running.add(A)
    running.add(B)
    assert set(await asyncio.gather(*workers)) == {A, B}


async def test_a_key_wakes_one_worker(running: WorkQueue) -> None:
    queue, looks = running, 0
    tick = queue.tick

    def counted_tick() -> None:
        nonlocal looks
        looks += 1
        tick()

    queue.tick = counted_tick  # type: ignore[method-assign] # each look at the queue begins with it
    workers = [asyncio.create_task(queue.get()) for _ in range(8)]
    await asyncio.sleep(0)
    looks = 0
    queue.add(A)
    assert await workers[0] == A
    assert looks == 1
    queue.close()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_the_key_of_a_worker_that_is_cancelled_goes_to_another(running: WorkQueue) -> None:
    first, second = [asyncio.create_task(running.get()) for _ in range(2)]
    await asyncio.sleep(0)
    running.add(A)
    first.cancel()
    assert await second == A
    assert first.cancelled()


async def test_a_worker_that_was_cancelled_while_it_waited_takes_no_key(running: WorkQueue) -> None:
    first, second = [asyncio.create_task(running.get()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    running.add(A)
    assert await second == A


async def test_a_delay_that_ends_wakes_a_worker_that_waits(running: WorkQueue) -> None:
    workers = [asyncio.create_task(running.get()) for _ in range(2)]
    await asyncio.sleep(0)
    running.add_after(A, 0.02)
    running.add_after(B, 0.01)
    assert [await workers[0], await workers[1]] == [B, A]


async def test_closing_ends_all_workers(running: WorkQueue) -> None:
    workers = [asyncio.create_task(running.get()) for _ in range(3)]
    await asyncio.sleep(0)
    running.close()
    answers = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(answer) for answer in answers] == [QueueClosed] * 3


async def test_the_queue_of_a_standby_does_not_grow(clock: HandClock) -> None:
    queue = WorkQueue(clock)
    queue.add(A)
    queue.add_after(B, 5.0)
    clock.seconds += 10
    queue.tick()
    assert queue.depth == queue.adds.total() == 0
    queue.start([A, B])
    assert [await queue.get(), await queue.get()] == [A, B]


async def test_delays_that_an_earlier_one_made_needless_are_forgotten(queue: WorkQueue, clock: HandClock) -> None:
    for _ in range(1000):
        queue.add_after(A, 3600.0)
        queue.add_after(A, 1.0)
        clock.seconds += 1
        queue.tick()
        assert await queue.get() == A
        queue.done(A)
    assert queue.delayed < 100
