"""A lane's child process: it decodes and infers, and uses no network.

    python -m voxfleet_agent.worker.main --lane-dir DIR

Requests come on stdin and answers go to stdout (lane_protocol.messages). The process ends when its stdin ends, so that
no agent leaves a child behind, however the agent itself ended.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from voxfleet_agent import core_dumps
from voxfleet_agent.audio.header_facts import SCRATCH_PREFIX
from voxfleet_agent.lane_protocol import lane_lock
from voxfleet_agent.lane_protocol.channel import answer_frame, can_be_buffered
from voxfleet_agent.lane_protocol.messages import EXIT_GPU_FAULT, EXIT_LANE_BUSY, SYNTHESIZED_PREFIX, Message
from voxfleet_agent.worker.request_reader import RequestReader
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription

if TYPE_CHECKING:
    from voxfleet_agent.worker.backends import WorkerBackends
    from voxfleet_agent.worker.decode_thread import AudibleSpeech, Samples
    from voxfleet_agent.worker.loop import Item
    from voxfleet_agent.worker.synthesize import Synthesizer
    from voxfleet_agent.worker.transcribe import Transcriber


def main(arguments: list[str] | None = None, backends: Callable[[], WorkerBackends] | None = None) -> int:
    """`backends` replaces the functions of audio and engine, for tests."""
    parser = argparse.ArgumentParser(prog="voxfleet-lane", description="A lane's child process; the agent starts it.")
    parser.add_argument("--lane-dir", type=Path, required=True, help="the lane's own folder")
    lane_dir: Path = parser.parse_args(arguments).lane_dir

    core_dumps.forbid()
    os.umask(0o077)
    requests_in, answers_out = _private_channel()
    inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
    reader = RequestReader(requests_in, inbox.put)
    threading.Thread(target=_read_requests, args=(reader,), daemon=True, name="requests").start()
    try:
        lane_lock.acquire(lane_dir)
    except lane_lock.LaneBusyError as error:
        print(error, file=sys.stderr)
        return EXIT_LANE_BUSY

    for prefix in (SCRATCH_PREFIX, SYNTHESIZED_PREFIX):
        for leftover in lane_dir.glob(f"{prefix}*"):
            _remove(leftover)

    write_lock = threading.Lock()

    def send(message: Message) -> None:
        with write_lock:
            answers_out.write(answer_frame(message))
            if not can_be_buffered(message):
                answers_out.flush()

    def flush() -> None:
        with write_lock:
            answers_out.flush()

    # Importing MLX takes seconds, so it comes after the lock, which rules out a second child.
    from voxfleet_agent.worker.loop import WorkerLoop
    from voxfleet_agent.worker.transcribe import GpuFaultError

    try:
        WorkerLoop((backends or default_backends)(), inbox, send, flush, reader.taken).serve()
    except GpuFaultError as error:
        print(error, file=sys.stderr, flush=True)
    os._exit(EXIT_GPU_FAULT)


def _remove(leftover: Path) -> None:
    """Removes what a killed child left, of whatever kind: one that a hostile clip took over must not stop the next."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
        return
    with suppress(OSError):
        leftover.unlink()


def default_backends() -> WorkerBackends:
    from voxfleet_agent.audio.decode import open_decoder
    from voxfleet_agent.audio.decode_memory import working_set_bytes
    from voxfleet_agent.audio.encode import write_audio
    from voxfleet_agent.engine import mlx_memory
    from voxfleet_agent.engine.completeness import shortfall
    from voxfleet_agent.engine.speech_detection import audible_speech
    from voxfleet_agent.worker.backends import WorkerBackends

    return WorkerBackends(
        open_decoder=open_decoder,
        working_set_bytes=working_set_bytes,
        write_audio=write_audio,
        load_transcriber=_load_transcriber,
        load_synthesizer=_load_synthesizer,
        audible_speech=audible_speech,
        load_second_opinion=_load_second_opinion,
        shortfall=shortfall,
        seed=_seed,
        memory=mlx_memory,
    )


def _load_transcriber(folder: Path, transcription: Transcription, timestamps: Timestamps) -> Transcriber:
    from voxfleet_agent.engine.transcriber import MlxTranscriber  # a lane that synthesizes does not need it

    return MlxTranscriber(folder, transcription, timestamps)


def _load_second_opinion() -> AudibleSpeech:
    from voxfleet_agent.engine.silero import SileroDetector  # a lane that synthesizes does not need it

    return SileroDetector().audible_speech


def _load_synthesizer(folder: Path, synthesis: Synthesis, reference: Samples | None, rate_hz: int) -> Synthesizer:
    from voxfleet_agent.engine.synthesizer import MlxSynthesizer  # a lane that transcribes does not need it

    return MlxSynthesizer(folder, synthesis, reference, rate_hz)


def _seed(task: Task) -> int:
    if task is Task.TRANSCRIBE:
        from voxfleet_agent.engine import transcriber

        return transcriber.SEED
    from voxfleet_agent.engine import synthesizer

    return synthesizer.SEED


def _private_channel() -> tuple[BinaryIO, BinaryIO]:
    """Keeps libraries away from stdin and stdout: what they print goes to stderr, and they read nothing."""
    requests_in = os.fdopen(os.dup(0), "rb")
    answers_out = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests_in, answers_out


def _read_requests(reader: RequestReader) -> None:
    """Runs on a thread of its own, so that the process ends with the agent at once, even in the middle of a clip."""
    try:
        reader.read_all()
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
