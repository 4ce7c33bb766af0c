"""What batches do while sessions need their Mac, as a table and over whole nights of speech."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.yielding.decide import (
    BREATH_SECONDS,
    BURN_SECONDS,
    HOLD_OFF_SECONDS,
    LINGER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    NEXT_EVICTION_SECONDS,
    PAUSE_SHARE,
    BatchLane,
    Decision,
    EvictionCause,
    MacSnapshot,
    Pace,
    ServingLane,
    Standing,
    decide,
)
from voxfleet_api.kinds.endpoint_yield import YieldMode

BATCHES = (BatchLane("offline-0"), BatchLane("offline-1"))
IDLE = ServingLane("live-0")
SILENT = replace(IDLE, open_sessions=2)
SPEAKING = replace(SILENT, speaking=True)
SHRINKS = replace(SPEAKING, name="live-1", mode=YieldMode.SHRINK)
BURNING = replace(SILENT, mode=YieldMode.EVICT, burning_seconds=BURN_SECONDS)


def decided(*serving: ServingLane, before: Standing | None = None, at: float = 1000.0, short: bool = False) -> Decision:
    return decide(MacSnapshot(serving, BATCHES, short), before or Standing(at_seconds=at), at)


@pytest.mark.parametrize(
    ("serving", "pace", "payer"),
    [
        ((), Pace.RUN, None),
        ((IDLE,), Pace.RUN, None),
        ((SILENT,), Pace.QUANTA, None),
        ((IDLE, SPEAKING), Pace.PAUSE, "live-0"),
        ((SHRINKS,), Pace.CLIP_BY_CLIP, None),
        ((SHRINKS, SPEAKING), Pace.PAUSE, "live-0"),
        ((SHRINKS, SILENT), Pace.CLIP_BY_CLIP, None),
        ((replace(SPEAKING, mode=YieldMode.EVICT),), Pace.PAUSE, "live-0"),
        ((replace(SPEAKING, name="live-9"), replace(SPEAKING, name="live-5")), Pace.PAUSE, "live-5"),
        ((replace(SPEAKING, open_sessions=0),), Pace.RUN, None),
    ],
)
def test_what_batches_do(serving: tuple[ServingLane, ...], pace: Pace, payer: str | None) -> None:
    found = decided(*serving)
    assert (found.paces, found.standing.payer) == ({"offline-0": pace, "offline-1": pace}, payer)
    assert found.evicted == {} and found.takes_batches


def test_the_shortest_quantum_of_those_with_a_session_counts() -> None:
    assert decided(replace(IDLE, quantum_milliseconds=50)).quantum_milliseconds is None
    serving = (replace(IDLE, quantum_milliseconds=50), SILENT, replace(SHRINKS, quantum_milliseconds=100))
    assert decided(*serving).quantum_milliseconds == 100


def test_a_pause_outlasts_the_turn_by_a_moment_and_stays_with_its_payer() -> None:
    paused = decided(SPEAKING)
    quiet = decided(SILENT, before=paused.standing, at=1004.0)
    assert quiet.standing.pace is Pace.PAUSE and quiet.look_again_seconds == LINGER_SECONDS
    again = decided(SPEAKING, before=quiet.standing, at=1004.1)
    assert (again.standing.pace, again.standing.quiet_since_seconds) == (Pace.PAUSE, None)
    over = decided(SILENT, before=quiet.standing, at=1004.0 + LINGER_SECONDS)
    assert (over.standing.pace, over.standing.payer) == (Pace.QUANTA, None)
    other = decided(SILENT, replace(SPEAKING, name="live-5"), before=paused.standing, at=1004.0)
    assert other.standing.payer == "live-5"
    assert decided(replace(SPEAKING, name="live-1"), SPEAKING, before=other.standing, at=1005.0).standing.payer


def test_a_long_pause_ends_for_a_breath_and_goes_on_after_it() -> None:
    paused = decided(SPEAKING)
    assert paused.look_again_seconds == LONGEST_PAUSE_SECONDS
    at = 1000.0 + LONGEST_PAUSE_SECONDS
    breath = decided(SPEAKING, before=paused.standing, at=at)
    assert (breath.standing.pace, breath.look_again_seconds) == (Pace.CLIP_BY_CLIP, BREATH_SECONDS)
    half = decided(SPEAKING, before=breath.standing, at=at + BREATH_SECONDS / 2)
    assert half.standing.pace is Pace.CLIP_BY_CLIP
    assert decided(SPEAKING, before=half.standing, at=at + BREATH_SECONDS).standing.pace is Pace.PAUSE


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 300.0)), max_size=60))
def test_however_people_speak_batches_get_their_share(turns: list[tuple[bool, float]]) -> None:
    """The decider is asked when it said so and whenever something happens, as the agent does."""
    now, standing = 1000.0, Standing(at_seconds=1000.0)
    paused_seconds = worked_seconds = 0.0
    for speaks, seconds in turns:
        ends = now + seconds
        while True:
            found = decided(SPEAKING if speaks else SILENT, before=standing, at=now)
            standing = found.standing
            wait = ends - now if found.look_again_seconds is None else min(ends - now, found.look_again_seconds)
            step = min(max(wait, 0.01), max(0.0, ends - now))
            if standing.pace is Pace.PAUSE:
                paused_seconds += step
            else:
                worked_seconds += step
            assert standing.pace is not Pace.RUN and 0 <= standing.owed_seconds <= BREATH_SECONDS
            now += step
            if now >= ends:
                break
        assert worked_seconds + BREATH_SECONDS + 0.1 >= paused_seconds / PAUSE_SHARE


def test_shards_go_back_after_a_minute_of_late_turns_if_the_endpoint_says_so() -> None:
    assert not decided(replace(BURNING, burning_seconds=BURN_SECONDS - 1)).evicted
    assert not decided(replace(BURNING, mode=YieldMode.PAUSE)).evicted
    found = decided(replace(BURNING, speaking=True))
    assert found.evicted == dict.fromkeys(("offline-0", "offline-1"), EvictionCause.BURN)
    # What goes back has to finish the clips in flight.
    assert set(found.paces.values()) == {Pace.CLIP_BY_CLIP} and not found.takes_batches


def test_memory_that_runs_short_sends_one_shard_after_the_other_back() -> None:
    assert not decided(short=True).evicted
    first = decided(IDLE, short=True)
    assert first.evicted == {"offline-1": EvictionCause.MEMORY} and not first.takes_batches
    snapshot = MacSnapshot((IDLE,), (BATCHES[0], replace(BATCHES[1], returning=True)), memory_short=True)
    assert not decide(snapshot, first.standing, 1000.0 + NEXT_EVICTION_SECONDS - 1).evicted
    second = decide(snapshot, first.standing, 1000.0 + NEXT_EVICTION_SECONDS)
    assert second.evicted == {"offline-0": EvictionCause.MEMORY}


def test_a_mac_that_gave_shards_back_takes_none_for_a_while() -> None:
    standing = decided(BURNING).standing
    assert not decided(SILENT, before=standing, at=1000.0 + HOLD_OFF_SECONDS - 1).takes_batches
    assert decided(SILENT, before=standing, at=1000.0 + HOLD_OFF_SECONDS).takes_batches
    assert not decided(BURNING, before=standing, at=1000.0 + HOLD_OFF_SECONDS).takes_batches


def test_a_shard_that_goes_back_is_not_paused_for_those_who_speak() -> None:
    snapshot = MacSnapshot((SPEAKING,), (BATCHES[0], replace(BATCHES[1], returning=True)))
    assert decide(snapshot, Standing(), 0.0).paces == {"offline-0": Pace.PAUSE, "offline-1": Pace.CLIP_BY_CLIP}


@pytest.mark.parametrize(
    ("serving", "held", "pace"),
    [(SPEAKING, True, Pace.CLIP_BY_CLIP), (SILENT, True, Pace.QUANTA), (SPEAKING, False, Pace.PAUSE)],
)
def test_a_mac_that_drains_is_not_held_up_by_those_who_speak(serving: ServingLane, held: bool, pace: Pace) -> None:
    snapshot = MacSnapshot((serving,), (BatchLane("offline-0", held=held, leaves=True),), memory_short=True)
    found = decide(snapshot, Standing(), 0.0)
    assert (found.paces, found.evicted) == ({"offline-0": pace}, {})


def test_a_lane_that_nobody_holds_is_paused_and_gives_nothing_back() -> None:
    free = (replace(BATCHES[0], held=False), replace(BATCHES[1], held=False, returning=True))
    found = decide(MacSnapshot((replace(BURNING, speaking=True),), free, memory_short=True), Standing(), 0.0)
    assert (set(found.paces.values()), found.evicted) == ({Pace.PAUSE}, {})
