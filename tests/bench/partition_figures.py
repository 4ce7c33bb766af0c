"""A Mac that is cut off while it serves sessions: only those on it end, and new ones are served elsewhere at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.socket_figures import CLIPS, SHORT_CONTRACT, demo_clips
from tests.bench.speech_rig import SpeechRig
from tests.rig.live_client import Heard, LiveClient, pcm

from voxfleet_api.endpoint_lanes import LaneList
from voxfleet_dev.mac import Mac

NEW_SESSIONS = 20
SERVED_SECONDS = 2.0
LOST_SECONDS = 15.0
"""The gateway's pings find a silent Mac within 12 s: ADR 70."""
REACHED_SECONDS = 60.0
LOST = 1013

Say = Callable[[str], None]


def partition_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    spec: dict[str, object] = {"turnDetection": {"type": "None"}, "session": {"maxPerLane": 8}}
    with SpeechRig(directory, readable=CLIPS, contract=SHORT_CONTRACT, spec=spec, macs=2) as rig, ExitStack() as stack:
        path, text = next((path, text) for path, text in demo_clips() if path.suffix == ".wav")
        samples, rate_hz = pcm(path)

        def session() -> LiveClient:
            return LiveClient(rig.url, rig.key.text, rate_hz)

        def said() -> float:
            """Seconds of a whole session. Raises MeasurementFailed for another text."""
            began = time.monotonic()
            with session() as opened:
                opened.send(samples)
                heard = opened.stop()
            if (heard.text, heard.close_code) != (text, 1000):
                raise MeasurementFailed(f"a new session heard {heard}")
            return time.monotonic() - began

        both = [stack.enter_context(session()) for _ in rig.macs]
        for opened in both:
            opened.send(samples[: len(samples) // 2])
        cut_off, _ = rig.macs
        if [_sessions(mac) for mac in rig.macs] != [1, 1]:
            raise MeasurementFailed("the sessions are not one on each Mac")
        alone = [said() for _ in range(NEW_SESSIONS)]
        with _partition(cut_off):
            began = time.monotonic()
            waited = [said() for _ in range(NEW_SESSIONS)]
            say(f"{NEW_SESSIONS} new sessions after {cut_off.name} was cut off: {max(waited):.2f} s at most")
            ends, lost_seconds = _ended(both, samples, text, began)
        rig.wait_for("both Macs are reached again", rig.reaches_all_macs, REACHED_SECONDS)
        again_seconds = time.monotonic() - began
        said()
    say(f"it is reached again {again_seconds:.1f} s after it was cut off")
    lost = [heard for heard in ends if heard.close_code == LOST]
    others = len(ends) - len(lost) - sum((heard.text, heard.close_code) == (text, 1000) for heard in ends)
    what = f"of {NEW_SESSIONS} whole sessions of a short clip, one after the other"
    return [
        Figure(
            "partition_new_session_seconds", max(waited), f"{what}, while a Mac is cut off", Goal("<=", SERVED_SECONDS)
        ),
        Figure("partition_session_seconds_before", max(alone), f"{what}, before"),
        Figure("partition_sessions_lost", len(lost), "of two, one on each Mac", Goal("<=", 1)),
        Figure("partition_sessions_ended_otherwise", others, "of two, neither whole nor retryable", Goal("<=", 0)),
        Figure("partition_lost_session_seconds", lost_seconds, "until its client is told", Goal("<=", LOST_SECONDS)),
    ]


def _ended(both: list[LiveClient], samples: bytes, text: str, began: float) -> tuple[list[Heard], float]:
    """What each told; seconds from `began` until the last one was lost."""
    ends: list[Heard] = []
    lost_seconds = 0.0
    for opened in both:
        with suppress(ConnectionError):
            opened.send(samples[len(samples) // 2 :])
        ends.append(opened.stop())
        if ends[-1].text != text:
            lost_seconds = time.monotonic() - began
    return ends, lost_seconds


@contextmanager
def _partition(mac: Mac) -> Iterator[None]:
    """Whatever carries bytes to its agent stands still; nothing is closed."""
    sshd = psutil.Process(mac.sshd.pid)
    stopped = [sshd, *sshd.children(recursive=True)]
    try:
        for process in stopped:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        for process in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)


def _sessions(mac: Mac) -> int:
    (lane,) = LaneList.load(mac.get_json("/v1/lanes")).lanes
    return lane.sessions
