"""Reads what the parent sends, on a thread of its own: never more of its sessions than a bound, however long a step is.

What is not read waits in the pipe and then with the parent, who bounds each session. Batches are not counted: few of
them are in flight at a time.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import BinaryIO

from voxfleet_agent.lane_protocol.channel import LENGTH, REQUEST, LaneRequest, checked_length
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import FileBytes, HearAudio, SessionMessage

MOST_WAITING_BYTES = 8 * 2**20
"""Of requests of sessions that wait for the step to end: 16 s of audio at 16 kHz of 16 sessions."""
_REQUEST_BYTES = 512
"""What a request takes beside its audio."""
_LOOK_SECONDS = 0.5
"""How often a reader that waits looks whether the parent is still there."""


class RequestReader:
    def __init__(
        self, channel: BinaryIO, put: Callable[[LaneRequest], None], most_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        self._channel = channel
        self._put = put
        self._most_bytes = most_bytes
        self._waiting_bytes = 0
        self._changed = threading.Condition()

    def read_all(self) -> None:
        """Returns when the parent has closed its end, also while it waits. Raises ValueError for what is no request."""
        while header := self._channel.read(LENGTH.size):
            request = REQUEST.validate_json(self._channel.read(checked_length(*LENGTH.unpack(header))))
            while not self._make_room(_size_bytes(request)):
                if self._parent_is_gone():
                    return
            self._put(request)

    def taken(self, request: Message) -> None:
        """The loop has taken the request, on its own thread."""
        with self._changed:
            self._waiting_bytes -= _size_bytes(request)
            self._changed.notify()

    def _make_room(self, size_bytes: int) -> bool:
        """A request that is larger than the bound goes alone."""
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: (
                    not size_bytes or not self._waiting_bytes or self._waiting_bytes + size_bytes <= self._most_bytes
                ),
                _LOOK_SECONDS,
            )
            if has_room:
                self._waiting_bytes += size_bytes
            return has_room

    def _parent_is_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._channel.fileno(), 0)
        return bool(poll.poll(0))  # asked for nothing, it tells a hang-up alone


def _size_bytes(request: Message) -> int:
    match request:
        case HearAudio():
            return _REQUEST_BYTES + len(request.pcm)
        case FileBytes():
            return _REQUEST_BYTES + len(request.content)
        case SessionMessage():
            return _REQUEST_BYTES
        case _:
            return 0
