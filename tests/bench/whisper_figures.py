"""One lane with a real model against the best loop that one writes around the same model."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.agent_alone import AgentAlone
from tests.bench.baselines import run_loop
from tests.bench.failure import MeasurementFailed
from tests.bench.loops import Way
from tests.bench.report import Figure, Goal
from tests.bench.spoken_clips import SpokenClips, make_spoken_clips

from voxfleet_agent import blas

ROUNDS = 3
TIMEOUT_SECONDS = 900.0
AGENT, AGENT_ALL_THREADS = "agent", "agent, every thread of the BLAS"
WAYS = (Way.ARRAY, Way.ARRAY_AHEAD, Way.ARRAY_AHEAD_ONE_THREAD)
SPEED = "audio seconds a second, Whisper tiny.en"
GOAL = 1.0
_ALL_THREADS = f"a lane with {blas.THREADS_VARIABLE}={os.cpu_count()}"

Say = Callable[[str], None]


def whisper_figures(directory: Path, model: Path, say: Say, rounds: int = ROUNDS) -> list[Figure]:
    """Clips under 30 s, which Whisper hears one at a time. Raises MeasurementFailed, ChildFailed."""
    clips = make_spoken_clips(directory / "clips")
    say(f"Whisper tiny.en, {rounds} rounds of {len(clips.paths)} clips, {clips.audio_seconds:.0f} s of speech")
    sides = (AGENT, AGENT_ALL_THREADS, *WAYS)
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, tuple[str, ...]] = {}
    for number in range(1, rounds + 1):
        # Forth and back: a machine that warms up, or whose neighbours wake, favours nobody.
        for side in sides[:: 1 if number % 2 else -1]:
            seconds, texts[side] = _measure(directory / f"{number}", side, model, clips)
            speeds[side].append(clips.audio_seconds / seconds)
            say(f"round {number}: {side} {speeds[side][-1]:.2f} {SPEED}")
        _check_same(clips, texts)
    return [*_speed_figures(speeds), *whisper_ratios(speeds)]


def _measure(directory: Path, side: str, model: Path, clips: SpokenClips) -> tuple[float, tuple[str, ...]]:
    """The seconds that one side takes for all clips, and its texts."""
    if side in WAYS:
        told = run_loop(model, clips.paths, Way(side))
        return told.seconds, told.texts
    threads = {} if side == AGENT else {blas.THREADS_VARIABLE: str(os.cpu_count() or 1)}
    return _agent(directory / side.partition(",")[0] / str(len(threads)), model, clips, threads)


def _agent(
    directory: Path, model: Path, clips: SpokenClips, environment: Mapping[str, str]
) -> tuple[float, tuple[str, ...]]:
    """An attempt's Work on a lane that holds the model."""
    with AgentAlone(directory, clips.folder, model=model, environment=environment) as agent:
        warm = agent.job(clips.manifest(1))
        agent.process(warm, agent.plan(warm, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        job = agent.job(clips.manifest(len(clips.paths)))
        attempt = agent.process(job, agent.plan(job, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        rows = sorted(agent.rows(job, attempt.shard_uid), key=lambda row: row.index)
        return agent.work_seconds(attempt), tuple(row.text or "" for row in rows)


def _check_same(clips: SpokenClips, texts: Mapping[str, tuple[str, ...]]) -> None:
    """Raises MeasurementFailed when a side heard something else: what is not the same work is not compared."""
    reference = texts[Way.ARRAY]
    for side, heard in texts.items():
        for path, expected, text in zip(clips.paths, reference, heard, strict=True):
            if text.strip() != expected.strip():
                raise MeasurementFailed(f"{path.name}: {side} heard {text!r}, the loop {Way.ARRAY} {expected!r}")


def _speed_figures(speeds: Mapping[str, list[float]]) -> list[Figure]:
    names: dict[str, tuple[str, str]] = {
        AGENT: ("agent", "an attempt's Work, one thread of the BLAS"),
        AGENT_ALL_THREADS: ("agent_all_threads", f"an attempt's Work, {_ALL_THREADS}"),
        **{way: (f"{way.replace('-', '_')}_loop", "model.generate(array) in one process") for way in WAYS},
    }
    return [
        Figure(
            f"whisper_{name}_audio_seconds_per_second",
            statistics.median(speeds[side]),
            f"{SPEED}, {what}",
            samples=tuple(speeds[side]),
        )
        for side, (name, what) in names.items()
    ]


def whisper_ratios(speeds: Mapping[str, list[float]]) -> list[Figure]:
    """The agent over the best loop, and with one thread over a loop with one thread. Pure."""
    # The best of several noisy figures, round by round, would be a loop that nobody has.
    best = max(WAYS, key=lambda way: statistics.median(speeds[way]))

    at_least = Goal(">=", GOAL)

    def ratio(name: str, side: str, other: str, what: str, goal: Goal | None = None) -> Figure:
        ratios = tuple(mine / theirs for mine, theirs in zip(speeds[side], speeds[other], strict=True))
        unit = f"median of the rounds' ratios, {what}"
        return Figure(name, statistics.median(ratios), unit, goal, ratios)

    return [
        ratio(
            "whisper_agent_vs_array_loop",
            AGENT_ALL_THREADS,
            best,
            f"{_ALL_THREADS} over the array loop with the best median ({best})",
            at_least,
        ),
        ratio(
            "whisper_default_agent_vs_array_loop",
            AGENT,
            best,
            f"a lane as it is by default, one thread of the BLAS, over the array loop with the best median ({best})",
        ),
        ratio(
            "whisper_agent_vs_one_thread_loop",
            AGENT,
            Way.ARRAY_AHEAD_ONE_THREAD,
            "a lane over the array loop, one thread of the BLAS each",
            at_least,
        ),
    ]
