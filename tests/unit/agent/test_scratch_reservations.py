"""Attempts that share scratch, played to the end: none waits for ever, whatever their sizes, windows and order."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_agent.scratch_reservations import Request, Reservations, Volume, Wait

PLENTY = 10**9


@dataclass
class Attempt:
    """What a stage does with scratch: it keeps one file or none, and passes others through a window."""

    name: str
    limit_bytes: int
    kept_bytes: int
    passing_bytes: list[int]
    window: int
    waiting: Request | None = None
    passing: list[Request] = field(default_factory=list)
    asked: int = 0
    has_kept: bool = False
    ended: str | None = None
    """"succeeded", or why not."""

    @property
    def largest_bytes(self) -> int:
        return max(self.passing_bytes)

    @property
    def fits(self) -> bool:
        return self.kept_bytes + self.largest_bytes <= self.limit_bytes

    def next_request(self) -> Request | None:
        if self.waiting is not None or self.ended is not None:
            return None
        if self.kept_bytes and not self.has_kept:
            return Request(self.name, "reference", self.kept_bytes, self.largest_bytes)
        if self.asked == len(self.passing_bytes) or len(self.passing) == self.window:
            return None
        self.asked += 1
        return Request(self.name, f"clip-{self.asked}", self.passing_bytes[self.asked - 1])


class Play:
    """Attempts take turns in an order that `random` gives, until all have ended."""

    def __init__(self, quota_bytes: int, attempts: list[Attempt], random: Random, volume_bytes: int = PLENTY) -> None:
        self.reservations = Reservations(quota_bytes)
        self.attempts = {attempt.name: attempt for attempt in attempts}
        self.random = random
        self.volume_bytes = volume_bytes
        self.foreign_bytes = 0
        self.min_free_bytes = 10
        self.gave_up: list[tuple[Attempt, Wait]] = []
        for attempt in attempts:
            self.reservations.open(attempt.name, attempt.limit_bytes)

    def volume(self) -> Volume:
        granted = list(self.reservations.granted())
        return Volume(
            capacity_bytes=self.volume_bytes,
            free_bytes=self.volume_bytes - self.foreign_bytes - sum(request.size_bytes for request in granted),
            returning_bytes=sum(request.size_bytes for request in granted if not request.kept),
            min_free_bytes=self.min_free_bytes,
        )

    def to_the_end(self) -> None:
        while any(attempt.ended is None for attempt in self.attempts.values()):
            if not self.one_step():
                self.lose_patience()
            self.check()

    def one_step(self) -> bool:
        """Lets one attempt do what it can do now; returns False when none can do anything."""
        names = [name for name, attempt in self.attempts.items() if attempt.ended is None]
        self.random.shuffle(names)
        for name in names:
            attempt = self.attempts[name]
            if attempt.passing and self.random.random() < 0.5:
                self.release_one(attempt)
                return True
            request = attempt.next_request()
            if request is not None:
                attempt.waiting = request
                self.reservations.ask(request)
                self.serve()
                return True
            if attempt.passing:
                self.release_one(attempt)
                return True
            if attempt.waiting is None:
                self.end(attempt, "succeeded")
                return True
        return False

    def release_one(self, attempt: Attempt) -> None:
        request = attempt.passing.pop(self.random.randrange(len(attempt.passing)))
        assert self.reservations.release(request)
        self.serve()

    def serve(self) -> None:
        granted, refused = self.reservations.serve(self.volume())
        for request in granted:
            attempt = self.attempts[request.owner]
            assert attempt.waiting is request
            attempt.waiting = None
            if request.kept:
                attempt.has_kept = True
            else:
                attempt.passing.append(request)
        for request, obstacle in refused:
            self.end(self.attempts[request.owner], obstacle.reason)

    def lose_patience(self) -> None:
        """Nobody can do anything but wait: one attempt gives up, as its deadline passes."""
        waiting = [attempt for attempt in self.attempts.values() if attempt.waiting is not None]
        assert waiting, "an attempt that waits for nothing stands still"
        attempt = self.random.choice(waiting)
        assert attempt.waiting is not None and self.reservations.is_idle(attempt.name)
        obstacle = self.reservations.obstacle(attempt.waiting, self.volume())
        assert obstacle is not None
        self.gave_up.append((attempt, obstacle.wait))
        self.end(attempt, obstacle.reason)

    def end(self, attempt: Attempt, how: str) -> None:
        attempt.ended, attempt.waiting = how, None
        attempt.passing.clear()
        self.reservations.close(attempt.name)
        self.serve()

    def check(self) -> None:
        assert self.reservations.used_bytes <= self.reservations.quota_bytes
        for attempt in self.attempts.values():
            assert self.reservations.used_by(attempt.name) <= attempt.limit_bytes


sizes = st.sampled_from((0, 1, 10, 25, 40, 60))


@st.composite
def attempts(draw: st.DrawFn, number: int) -> Attempt:
    kept_bytes, passing_bytes = draw(sizes), draw(st.lists(sizes, min_size=1, max_size=6))
    limit_bytes = max(0, kept_bytes + max(passing_bytes) + draw(st.integers(-3, 60)))
    return Attempt(f"attempt-{number}", limit_bytes, kept_bytes, passing_bytes, window=draw(st.integers(1, 4)))


@st.composite
def plays(draw: st.DrawFn, volume_bytes: int = PLENTY) -> Play:
    playing = [draw(attempts(number)) for number in range(draw(st.integers(1, 5)))]
    order = Random(draw(st.integers(0, 2**32)))  # noqa: S311 - an order of events
    # About what the largest attempt needs alone: there the attempts stand in each other's way.
    quota_bytes = max(attempt.kept_bytes + attempt.largest_bytes for attempt in playing) + draw(st.integers(-3, 60))
    return Play(max(1, quota_bytes), playing, order, volume_bytes)


@given(plays())
@settings(max_examples=100)
def test_every_attempt_comes_to_an_end_and_leaves_nothing(play: Play) -> None:
    play.to_the_end()
    assert play.reservations.used_bytes == 0
    for attempt, wait in play.gave_up:
        assert wait is Wait.OTHERS, f"{attempt.name} gave up though bytes were on their way to it"
        assert not attempt.has_kept, f"{attempt.name} was let in though it could not go on"
    for attempt in play.attempts.values():
        assert attempt.fits or attempt.ended != "succeeded"


@given(plays())
@settings(max_examples=100)
def test_attempts_that_fit_together_all_succeed_and_none_waits_for_its_deadline(play: Play) -> None:
    playing = play.attempts.values()
    for attempt in playing:
        attempt.limit_bytes = attempt.kept_bytes + attempt.largest_bytes
        play.reservations.open(attempt.name, attempt.limit_bytes)
    kept_bytes = sum(attempt.kept_bytes for attempt in playing)
    play.reservations.quota_bytes = kept_bytes + max(attempt.largest_bytes for attempt in playing)
    play.to_the_end()
    assert play.gave_up == []
    assert {attempt.ended for attempt in playing} == {"succeeded"}


@given(plays(volume_bytes=200), st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=100)
def test_other_programs_on_the_volume_keep_no_attempt_for_ever(play: Play, foreign: list[int]) -> None:
    for foreign_bytes in foreign:
        play.foreign_bytes = foreign_bytes
        play.serve()
        play.one_step()
    play.to_the_end()
    assert all(wait is Wait.OTHERS for _, wait in play.gave_up)
    assert play.reservations.used_bytes == 0


def volume(free_bytes: int = PLENTY, returning_bytes: int = 0, capacity_bytes: int = PLENTY) -> Volume:
    return Volume(capacity_bytes, free_bytes, returning_bytes, min_free_bytes=100)


def refusal(reservations: Reservations, request: Request, on: Volume) -> str:
    reservations.ask(request)
    _, refused = reservations.serve(on)
    assert len(refused) == 1, "it waits, though nothing can make it fit"
    return refused[0][1].reason


def test_a_refusal_shows_its_arithmetic_and_the_setting_to_change() -> None:
    reservations = Reservations(quota_bytes=1000)
    reservations.open("a", 300)
    reservations.open("b", 5000)
    assert refusal(reservations, Request("a", "reference", 200, beside_bytes=101), volume()) == (
        "200 bytes of scratch were needed until the attempt ends and 101 beside them, but the contract's"
        " scratch.maxBytes is 300; raise it"
    )
    assert refusal(reservations, Request("b", "reference", 600, beside_bytes=401), volume()) == (
        "600 bytes of scratch were needed until the attempt ends and 401 beside them, but scratch.quota of this Mac is"
        " 1000; raise it, or use a Mac with more"
    )
    assert refusal(reservations, Request("b", "clip", 600), volume(capacity_bytes=699)) == (
        "600 bytes of scratch were needed, but the scratch volume has 699 bytes in all and scratch.minFree is 100; use"
        " a larger volume"
    )
    reservations.ask(Request("a", "reference", 200, beside_bytes=100))
    assert len(reservations.serve(volume())[0]) == 1
    assert refusal(reservations, Request("a", "clip", 101), volume()) == (
        "101 bytes of scratch were needed beside 200 that stay until the attempt ends, but the contract's"
        " scratch.maxBytes is 300; raise it"
    )


def test_the_bytes_that_come_back_go_to_whoever_has_none() -> None:
    reservations = Reservations(quota_bytes=100)
    for name in ("busy", "idle"):
        reservations.open(name, 100)
    first, second = Request("busy", "one", 40), Request("busy", "two", 40)
    for request in (first, second):
        reservations.ask(request)
    assert reservations.serve(volume())[0] == [first, second]
    large, small = Request("idle", "large", 90), Request("busy", "three", 20)
    reservations.ask(large)
    reservations.ask(small)
    assert reservations.serve(volume())[0] == [], "20 are free, and wait for 90"
    reservations.release(first)
    assert reservations.serve(volume())[0] == []
    reservations.release(second)
    assert reservations.serve(volume())[0] == [large]


@pytest.mark.parametrize(
    ("returning_bytes", "wait"), [(50, Wait.PASSING_BYTES), (49, Wait.OTHERS)], ids=["ours", "other programs'"]
)
def test_a_full_volume_is_told_by_whose_bytes_fill_it(returning_bytes: int, wait: Wait) -> None:
    reservations = Reservations(quota_bytes=1000)
    reservations.open("a", 1000)
    obstacle = reservations.obstacle(Request("a", "clip", 100), volume(150, returning_bytes))
    assert obstacle is not None and obstacle.wait is wait
    assert "150 bytes free and scratch.minFree is 100" in obstacle.reason


def test_a_name_is_reserved_once() -> None:
    reservations = Reservations(quota_bytes=100)
    reservations.open("a", 100)
    reservations.ask(Request("a", "clip", 1))
    with pytest.raises(ValueError, match="reserved already"):
        reservations.ask(Request("a", "clip", 1))
    reservations.serve(volume())
    with pytest.raises(ValueError, match="reserved already"):
        reservations.ask(Request("a", "clip", 1))
    reservations.open("a", 100)
    reservations.ask(Request("a", "clip", 1))
