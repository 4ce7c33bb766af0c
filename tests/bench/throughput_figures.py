"""One Mac and one lane against what people do without VoxFleet, on the same clips."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from tests.bench.baselines import command_line_throughput, loop_throughput
from tests.bench.clips import KINDS, Pool
from tests.bench.fleet_figures import agent_pace
from tests.bench.lane_figures import LaneBench
from tests.bench.loops import ARRAY_WAYS, Way
from tests.bench.pace import Pace
from tests.bench.report import Figure, Goal

from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.job_model import BuiltinName

COMMAND_LINE_CLIPS = len(KINDS)
ROUNDS = 5
AGENT, LANE = "one Mac", "lane"
SIDES = (AGENT, LANE, *Way)
SPEED = "audio seconds a second"
RATIO = "median of the rounds' ratios"

Say = Callable[[str], None]


def throughput_figures(directory: Path, pool: Pool, batch_size: int, say: Say) -> list[Figure]:
    """`batch_size`: of the lane alone. Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    model = builtin_model_folder(BuiltinName.COMMANDS)
    say(f"mlx_audio.stt.generate, {COMMAND_LINE_CLIPS} clips, a process each")
    command_line = command_line_throughput(model, pool.first(COMMAND_LINE_CLIPS))
    say(f"{command_line:.2f} {SPEED}")
    measured: dict[str, list[float]] = {name: [] for name in SIDES}

    paces: dict[str, list[Pace]] = {AGENT: [], LANE: []}

    def paced(name: str, pace: Pace) -> float:
        paces[name].append(pace)
        say(f"{name}: {pace}")
        return pace.speed

    def measure(name: str, number: int) -> float:
        if name == AGENT:
            return paced(name, agent_pace(directory / f"single-{number}", pool))
        if name == LANE:
            return paced(name, LaneBench(directory / f"lane-{number}").pace(pool, batch_size))
        return loop_throughput(model, pool, Way(name))

    for number in range(1, ROUNDS + 1):
        # Forth and back: a machine that warms up, or whose neighbours wake, favours nobody.
        for name in SIDES[:: 1 if number % 2 else -1]:
            measured[name].append(measure(name, number))
            say(f"round {number}: {name} {measured[name][-1]:.1f} {SPEED}")
    return [*_speeds(measured, batch_size), *_ratios(measured, command_line), *_shares(paces)]


def _speeds(measured: dict[str, list[float]], batch_size: int) -> list[Figure]:
    named: dict[str, tuple[str, str]] = {
        AGENT: ("agent_throughput", f"{SPEED}, one Mac's Work"),
        LANE: ("lane_throughput", f"{SPEED}, Lane.work alone, batch {batch_size}"),
        Way.PATH: ("path_loop_throughput", f"{SPEED}, model.generate(path) in one process"),
        **{
            way: (f"{way.replace('-', '_')}_loop_throughput", f"{SPEED}, mlx-audio-io and model.generate(array)")
            for way in ARRAY_WAYS
        },
    }
    return [
        Figure(f"{name}_audio_seconds_per_second", statistics.median(speeds), unit, samples=speeds)
        for side, (name, unit) in named.items()
        for speeds in [tuple(measured[side])]
    ]


def _ratios(measured: dict[str, list[float]], command_line: float) -> list[Figure]:
    # The best of several noisy figures, round by round, would be a loop that nobody has.
    best = max((measured[way] for way in ARRAY_WAYS), key=statistics.median)

    def ratio(name: str, ours: list[float], theirs: list[float], unit: str, goal: float) -> Figure:
        ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
        return Figure(name, statistics.median(ratios), unit, Goal(">=", goal), ratios)

    agent, lane, path = measured[AGENT], measured[LANE], measured[Way.PATH]
    once = [command_line] * len(agent)
    return [
        Figure(
            "cli_throughput_audio_seconds_per_second",
            command_line,
            f"{SPEED}, mlx_audio.stt.generate once a clip, sample of {COMMAND_LINE_CLIPS} clips",
        ),
        ratio(
            "agent_vs_array_loop",
            agent,
            best,
            f"{RATIO}, one Mac's Work over the array loop with the best median",
            1.24,
        ),
        ratio("lane_vs_array_loop", lane, best, f"{RATIO}, Lane.work over the array loop with the best median", 1.2),
        ratio("agent_vs_path_loop", agent, path, f"{RATIO}, one Mac's Work over model.generate(path)", 2),
        ratio("agent_vs_cli", agent, once, f"{RATIO}, one Mac's Work over mlx_audio.stt.generate a clip", 100),
    ]


def _shares(paces: dict[str, list[Pace]]) -> list[Figure]:
    named = {AGENT: "agent_outside_model_percent", LANE: "lane_outside_model_percent"}
    return [
        Figure(
            name,
            statistics.median(shares),
            "percent of the time in which the model did not run; the lines of each round say what it was",
            samples=shares,
        )
        for side, name in named.items()
        for shares in [tuple(pace.outside_model_percent for pace in paces[side])]
    ]
