"""What kept audio from the model is told by where the decoding thread's time went, and each wait counts once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.worker.underruns import NO_TIME, DecodeMeter, DecodeTimes, Underruns, underrun_cause
from voxfleet_api.run_record import UnderrunCause


@pytest.mark.parametrize(
    ("wall", "processor", "disk", "cause"),
    [
        (100, 90, 0, UnderrunCause.DECODE),
        (100, 10, 80, UnderrunCause.DISK),
        (100, 10, 10, UnderrunCause.SCHEDULING),
        (100, 34, 33, UnderrunCause.DECODE),
        (90, 100, 0, UnderrunCause.DECODE),  # the clocks do not tick together
        (0, 0, 0, UnderrunCause.DECODE),
    ],
)
def test_the_largest_share_is_the_cause(wall: int, processor: int, disk: int, cause: UnderrunCause) -> None:
    assert underrun_cause(DecodeTimes(wall, processor, disk)) is cause


@given(worked=st.integers(0, 10**12), read=st.integers(0, 10**12), kept=st.integers(0, 10**12))
def test_a_cause_that_took_most_of_the_time_is_never_passed_over(worked: int, read: int, kept: int) -> None:
    shares = {UnderrunCause.DECODE: worked, UnderrunCause.DISK: read, UnderrunCause.SCHEDULING: kept}
    cause = underrun_cause(DecodeTimes(worked + read + kept, worked, read))
    assert shares[cause] == max(shares.values())


class Clocks:
    def __init__(self) -> None:
        self.wall_ns = self.processor_ns = 0

    def work(self, spent_ns: int) -> None:
        self.wall_ns += spent_ns
        self.processor_ns += spent_ns

    def meter(self) -> DecodeMeter:
        return DecodeMeter(lambda: self.wall_ns, lambda: self.processor_ns)


def test_only_the_wait_in_a_read_is_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    meter = clocks.meter()
    file = tmp_path / "clip"
    file.write_bytes(b"audio")

    read = os.readv

    def slow(descriptor: int, buffers: Sequence[bytearray]) -> int:
        clocks.wall_ns += 70
        clocks.work(5)
        return read(descriptor, buffers)

    monkeypatch.setattr(os, "readv", slow)
    meter.read_through(file)  # one read of the bytes, one that finds the end
    clocks.work(20)
    clocks.wall_ns += 3
    assert meter.piece_done() == DecodeTimes(wall_ns=173, processor_ns=30, disk_ns=140)
    assert meter.piece_done() == NO_TIME, "the next piece begins where this one ended"


def test_a_thread_without_work_is_late_only_from_its_next_batch_on() -> None:
    clocks = Clocks()
    meter = clocks.meter()
    clocks.wall_ns = 1000
    meter.given_work(900)
    assert meter.piece_done().wall_ns == 100
    clocks.work(50)
    meter.given_work(990)  # it was queued while the thread worked on the piece before
    assert meter.piece_done() == DecodeTimes(wall_ns=50, processor_ns=50, disk_ns=0)


@pytest.mark.parametrize("path", ["missing", "fifo", "."])
def test_what_cannot_be_read_is_left_to_the_decoder(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    meter = Clocks().meter()
    meter.read_through(tmp_path / path)
    assert meter.piece_done() == NO_TIME


def test_a_wait_counts_once_when_it_ends() -> None:
    underruns = Underruns()
    underruns.audio_arrived(DecodeTimes(9, 9, 0))
    assert underruns.total == 0, "the model did not wait"
    underruns.model_waits()
    underruns.model_waits()  # a message about a batch came meanwhile
    underruns.audio_arrived(DecodeTimes(9, 1, 8))
    underruns.audio_arrived(DecodeTimes(9, 9, 0))
    underruns.model_waits()
    underruns.audio_arrived(DecodeTimes(9, 1, 0))
    assert dict(underruns.by_cause) == {UnderrunCause.DISK: 1, UnderrunCause.SCHEDULING: 1}
    assert underruns.total == 2
