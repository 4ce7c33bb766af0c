"""What people do without VoxFleet, on the same clips, with the same model and the same BLAS as the agent."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.loops import Way

from voxfleet_agent import blas
from voxfleet_agent.engine.upstream_messages import UPSTREAM_MODULE, UpstreamOrder, read_answer
from voxfleet_dev.mac import agent_environment

TIMEOUT_SECONDS = 600.0
LOOPS = Path(__file__).with_name("loops.py")


class LoopAnswer(BaseModel):
    """What a loop in one process took, loading and one warm-up call not counted, and its texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    texts: tuple[str, ...]


def loop_throughput(model: Path, pool: Pool, way: Way) -> float:
    """Audio seconds a second of a loop. Raises MeasurementFailed."""
    told = run_loop(model, [clip.path for clip in pool.clips], way)
    check_words(f"the loop {way}", pool, told.texts)
    return pool.total_audio_seconds / told.seconds


def run_loop(model: Path, clips: Sequence[Path], way: Way) -> LoopAnswer:
    """Raises MeasurementFailed."""
    if way is Way.PATH:
        return _path_loop(model, clips)
    paths = [str(clip) for clip in clips]
    with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
        order, answer = Path(folder) / "order.json", Path(folder) / "answer.json"
        told = {"model": str(model), "way": way, "warmUp": paths[0], "paths": paths}
        order.write_text(json.dumps(told))
        settings = {blas.THREADS_VARIABLE: "1"} if way is Way.ARRAY_AHEAD_ONE_THREAD else {}
        run_program([sys.executable, str(LOOPS), str(order), str(answer)], settings)
        return LoopAnswer.model_validate_json(answer.read_text())


def _path_loop(model: Path, clips: Sequence[Path]) -> LoopAnswer:
    by_id = {str(number): str(clip) for number, clip in enumerate(clips)}
    with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
        order, answer = Path(folder) / "order.json", Path(folder) / "answer.jsonl"
        order.write_text(UpstreamOrder(model=str(model), clips=by_id, warm_up=True).model_dump_json(by_alias=True))
        run_program([sys.executable, "-m", UPSTREAM_MODULE, str(order), str(answer)])
        heard = read_answer(answer.read_text().splitlines()).clips.values()
    lost = [clip.error for clip in heard if clip.error is not None]
    if lost or len(heard) != len(clips):
        raise MeasurementFailed(f"the loop {Way.PATH} heard {len(heard) - len(lost)} of {len(clips)} clips: {lost[:1]}")
    return LoopAnswer(seconds=sum(clip.seconds for clip in heard), texts=tuple(clip.text or "" for clip in heard))


def command_line_throughput(model: Path, pool: Pool) -> float:
    """Audio seconds a second of `python -m mlx_audio.stt.generate`, started once a clip, all of it counted."""
    texts = []
    with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
        output = Path(folder) / "transcript"
        started = time.perf_counter()
        for clip in pool.clips:
            run_program(
                [
                    *(sys.executable, "-m", "mlx_audio.stt.generate", "--model", str(model)),
                    *("--audio", str(clip.path), "--output-path", str(output), "--format", "txt"),
                ]
            )
            texts.append(output.with_suffix(".txt").read_text())
        seconds = time.perf_counter() - started
    check_words("mlx_audio.stt.generate", pool, texts)
    return pool.total_audio_seconds / seconds


def check_words(what: str, pool: Pool, texts: Sequence[str]) -> None:
    """A peer that transcribes nonsense measures nothing."""
    right = sum(text.strip() == clip.text for text, clip in zip(texts, pool.clips, strict=True))
    if right < len(texts) / 2:
        raise MeasurementFailed(
            f"{what}: only {right} of {len(texts)} transcripts are right; is the model the right one?"
        )


def run_program(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Runs it with the agent's BLAS, `environment` added to its own. Raises MeasurementFailed with its last words."""
    try:
        done = subprocess.run(
            command,
            env={**agent_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{' '.join(command)}: no end after {TIMEOUT_SECONDS:g} s") from error
    if done.returncode:
        raise MeasurementFailed(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout[-2000:]}")
