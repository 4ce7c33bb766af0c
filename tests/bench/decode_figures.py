"""Decoding alone, against what mlx-audio decodes with."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from tests.bench.agent_alone import BENCH_CONTRACT
from tests.bench.baselines import run_program
from tests.bench.clips import Pool
from tests.bench.report import Figure, Goal

SIDES = Path(__file__).with_name("decode_sides.py")
ROUNDS = 5

Say = Callable[[str], None]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: tuple[float, ...]
    upstream: tuple[float, ...]


def decode_figures(pool: Pool, say: Say, rounds: int = ROUNDS) -> list[Figure]:
    """The agent with its checks and declared conversions, mlx-audio with its defaults. Raises MeasurementFailed."""
    say(f"decoding {len(pool.clips)} clips, {rounds} rounds of both sides")
    with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
        order, answer = Path(folder) / "order.json", Path(folder) / "answer.json"
        paths = [str(clip.path) for clip in pool.clips]
        order.write_text(json.dumps({"contract": BENCH_CONTRACT.dump(), "paths": paths, "rounds": rounds}))
        run_program([sys.executable, str(SIDES), str(order), str(answer)])
        told = _Answer.model_validate_json(answer.read_text())
    agent = tuple(pool.total_audio_seconds / seconds for seconds in told.agent)
    upstream = tuple(pool.total_audio_seconds / seconds for seconds in told.upstream)
    ratios = tuple(ours / theirs for ours, theirs in zip(agent, upstream, strict=True))
    unit = "audio seconds a second of decoding to 16 kHz mono"
    return [
        Figure("decode_agent", statistics.median(agent), f"{unit}, checks and contract included", samples=agent),
        Figure("decode_upstream", statistics.median(upstream), f"{unit}, mlx_audio load_audio", samples=upstream),
        Figure("decode_vs_upstream", statistics.median(ratios), "median of the rounds' ratios", Goal(">=", 5), ratios),
    ]
