"""What a worker counts as its model's memory, and what it lets go of when it has no work."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.component.lanes.lane_rig import contract, load_request
from tests.component.lanes.stand_in_worker import Memory, Voice, audible_speech, backends

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.lane_protocol.messages import (
    ClipMessage,
    DecodingClip,
    Loaded,
    Message,
    SessionLimits,
    WorkerRefusal,
)
from voxfleet_agent.worker.decode_thread import ClipJob, DecodeThread, Samples
from voxfleet_agent.worker.loop import Item, WorkerLoop
from voxfleet_agent.worker.model_in_memory import ModelInMemory
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task
from voxfleet_api.rows import Attestation

MIB = 2**20


class KeepsForReuse(Memory):
    """Of 900 MiB, MLX keeps 800 for reuse, which it gives back when something needs them."""

    def cached_bytes(self) -> int:
        return 800 * MIB

    def footprint_bytes(self) -> int:
        return 900 * MIB


def test_what_mlx_keeps_for_reuse_is_not_counted_as_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a lane that has worked refuses contracts that a fresh one accepts, and batches less."""
    monkeypatch.chdir(tmp_path)
    inbox, sent = queue.SimpleQueue[Item](), queue.SimpleQueue[Message]()
    loop = WorkerLoop(replace(backends({}), memory=KeepsForReuse()), inbox, sent.put, lambda: None)
    threading.Thread(target=loop.serve, daemon=True).start()
    inbox.put(load_request(tmp_path).model_copy(update={"memory_cap_bytes": 800 * MIB}))
    assert isinstance(sent.get(timeout=30), Loaded)


class WorksHard(Memory):
    """At rest the model takes 300 MiB, and as it warms up 200 MiB more."""

    def footprint_bytes(self) -> int:
        return 300 * MIB

    def work_bytes(self) -> int:
        return 200 * MIB


@pytest.mark.parametrize("cap_mib", [400, 800])
def test_a_cap_without_room_for_the_models_work_is_refused_before_any_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap_mib: int
) -> None:
    monkeypatch.chdir(tmp_path)
    inbox, sent = queue.SimpleQueue[Item](), queue.SimpleQueue[Message]()
    loop = WorkerLoop(replace(backends({}), memory=WorksHard()), inbox, sent.put, lambda: None)
    threading.Thread(target=loop.serve, daemon=True).start()
    inbox.put(load_request(tmp_path).model_copy(update={"memory_cap_bytes": cap_mib * MIB}))
    answer = sent.get(timeout=30)
    if cap_mib == 400:
        assert isinstance(answer, WorkerRefusal) and answer.failure_class is FailureClass.CONTRACT_VIOLATION
        assert "model 300.0 MiB + its work 200.0 MiB" in answer.message
    else:
        assert isinstance(answer, Loaded)


class Weighs(Memory):
    """The model takes 300 MiB, and each stream that has begun 50."""

    def __init__(self) -> None:
        self.streams = 0

    def footprint_bytes(self) -> int:
        return (300 + 50 * self.streams) * MIB


@pytest.mark.parametrize(("cap_mib", "fits"), [(650, False), (750, True)])
def test_a_lane_that_speaks_counts_the_state_of_each_stream(tmp_path: Path, cap_mib: int, fits: bool) -> None:
    memory = Weighs()

    class Speaks(Voice):
        def synthesize(
            self, text: str, *, enlarged: bool = False, synthesis: Synthesis | None = None
        ) -> Iterator[Samples]:
            memory.streams += 1
            try:
                yield np.zeros(2400, np.float32)
            finally:
                memory.streams -= 1

    with_streams = replace(backends({}), memory=memory, load_synthesizer=lambda *_: Speaks({}))
    model = ModelInMemory(with_streams)
    changes = {
        "task": Task.SYNTHESIZE,
        "synthesis": Synthesis(voice="serena"),
        "memory_cap_bytes": cap_mib * MIB,
        "sessions": SessionLimits(most_sessions=8, max_turn_milliseconds=30_000),
    }
    answer = model.load(load_request(tmp_path).model_copy(update=changes))
    if fits:
        assert isinstance(answer, Loaded) and memory.streams == 0
    else:
        assert isinstance(answer, WorkerRefusal) and answer.failure_class is FailureClass.CONTRACT_VIOLATION
        assert "model 300.0 MiB + its work 0.0 MiB + 8 sessions 400.0 MiB" in answer.message


def test_a_lane_for_sessions_has_no_ring_for_clips_that_it_never_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = ModelInMemory(backends({}))
    changes = {
        "contract": contract(max_clip="4h"),
        "sessions": SessionLimits(most_sessions=8, max_turn_milliseconds=30_000),
    }
    request = load_request(tmp_path).model_copy(update=changes)
    answer = model.load(request)
    assert isinstance(answer, Loaded) and answer.ring_bytes == 0 and model.judge is not None
    assert isinstance(model.load(request.model_copy(update={"sessions": None})), WorkerRefusal)


class Second:
    """One second of silence."""

    attestation = Attestation(container="wav", encoding="float32", sample_rate_hz=16_000, channels=1, decoder="")
    warnings: tuple[RowWarning, ...] = ()
    audio_milliseconds = 1000

    def __init__(self) -> None:
        self.piece_starts_milliseconds = [0]

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        yield np.zeros(16_000, np.float32)


def test_a_decoding_thread_without_work_holds_no_ring() -> None:
    """The next contract's ring is made beside it, and the old one would be counted as the model's memory."""
    idle, emitted = threading.Event(), queue.SimpleQueue[object]()

    def send(message: Message) -> None:
        if message == DecodingClip():
            idle.set()

    thread = DecodeThread(lambda *_: Second(), audible_speech, send, emitted.put)
    ring = RingBuffer(16_000)
    thread.put(contract(), 16_000, ring, [ClipJob(ClipMessage(index=0, path=Path("/clip")))])
    assert idle.wait(timeout=30)
    held = weakref.ref(ring)
    del ring
    assert held() is None
