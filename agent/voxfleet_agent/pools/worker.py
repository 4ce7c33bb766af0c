"""A lane's child process: decodes and transcribes one clip at a time, and uses no network.

    python -m voxfleet_agent.pools.worker --lane-dir DIR

Requests come on stdin and answers go to stdout (`messages`). The process ends when its stdin ends: a supervisor that
is gone, however it went, leaves no child behind.
"""

from __future__ import annotations

import argparse
import os
import queue
import resource
import shutil
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from voxfleet_agent.audio.facts import SCRATCH_PREFIX
from voxfleet_agent.pools import lane_lock
from voxfleet_agent.pools.exits import EXIT_LANE_BUSY
from voxfleet_agent.pools.messages import LENGTH, REQUEST, Load, Message, Transcribe, checked_length, frame

Requests = queue.SimpleQueue[Load | Transcribe]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="voxfleet-lane", description="A lane's child process; the agent starts it.")
    parser.add_argument("--lane-dir", type=Path, required=True, help="the lane's own folder")
    lane_dir: Path = parser.parse_args(arguments).lane_dir

    # A core dump would hold people's speech.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests_in, answers_out = _private_channel()
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests_in, requests), daemon=True, name="requests").start()
    try:
        lane_lock.take(lane_dir)
    except lane_lock.LaneBusyError as error:
        print(error, file=sys.stderr)
        return EXIT_LANE_BUSY

    for leftover in lane_dir.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(leftover)  # links to clips, from a child that was killed

    def answer(message: Message) -> None:
        answers_out.write(frame(message))
        answers_out.flush()

    # MLX is imported behind the lock: it takes seconds, and two children must not meet.
    from voxfleet_agent.pools.serving import serve

    serve(requests.get, answer)
    return 0


def _private_channel() -> tuple[BinaryIO, BinaryIO]:
    """Moves stdin and stdout out of the way of libraries: prints go to stderr, reads find nothing."""
    requests_in = os.fdopen(os.dup(0), "rb")
    answers_out = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests_in, answers_out


def _read_requests(channel: BinaryIO, requests: Requests) -> None:
    """Runs beside the work, so that the supervisor's end is seen at once and in the middle of a clip."""
    try:
        while header := channel.read(LENGTH.size):
            body = channel.read(checked_length(*LENGTH.unpack(header)))
            requests.put(REQUEST.validate_json(body))
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
