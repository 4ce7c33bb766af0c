"""Macs that misbehave: what stands between the network and an agent that is otherwise sound."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxfleet_agent.attempts.event_feed import attempt_status
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.clock import SystemClock
from voxfleet_api.protocol import AttemptState, Event, EventType, ShardProgress

LIE_SECONDS = 0.005
GARBAGE_BYTES = 2**20
DAYS_WRONG = 400
_GARBAGE = random.Random(0).randbytes(GARBAGE_BYTES)  # noqa: S311 # no secret


class Trouble(StrEnum):
    HANGS = "hangs"  # accepts TCP and never answers
    FALLS_SILENT = "falls-silent"  # the same, once it has taken an attempt
    FULL_DISK = "full-disk"  # says that it has room, and refuses with 507
    WRONG_CLOCK = "wrong-clock"
    LIES = "lies"  # tells other progress 200 times a second, also of what has ended
    GARBAGE = "garbage"  # proves who it is, and then answers random bytes


class WrongClock(SystemClock):
    def wall(self) -> datetime:
        return super().wall() + timedelta(days=DAYS_WRONG)


def troubled(trouble: Trouble | None, app: ASGIApp, supervisor: Supervisor) -> ASGIApp:
    wrap: dict[Trouble | None, Callable[[], ASGIApp]] = {
        Trouble.HANGS: lambda: _never,
        Trouble.FALLS_SILENT: lambda: _Silent(app),
        Trouble.FULL_DISK: lambda: _HidesFullDisk(app),
        Trouble.LIES: lambda: _Liar(app, supervisor),
        Trouble.GARBAGE: lambda: _Garbage(app),
    }
    return wrap.get(trouble, lambda: app)()


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.get_running_loop().create_future()


class _Silent:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._silent = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            self._silent.set()

        async def unless_silent(message: Message) -> None:
            if self._silent.is_set():
                await _never(scope, receive, send)
            await send(message)

        await self._app(scope, receive, unless_silent)


class _HidesFullDisk:
    """An agent tells that it lacks scratch; a disk may also fill up right after."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/v1/machine":
            await self._app(scope, receive, send)
            return
        started: list[Message] = []

        async def hide(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                return
            content = json.dumps({**json.loads(message["body"]), "lacksScratch": False}).encode()
            kept = [header for header in started[0]["headers"] if header[0].lower() != b"content-length"]
            await send({**started[0], "headers": [*kept, (b"content-length", str(len(content)).encode())]})
            await send({**message, "body": content})

        await self._app(scope, receive, hide)


class _Liar:
    def __init__(self, app: ASGIApp, supervisor: Supervisor) -> None:
        self._app = app
        self._supervisor = supervisor
        self._random = random.Random(0)  # noqa: S311 # no secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/v1/events":
            await self._app(scope, receive, send)
            return
        whole_line, cursor = asyncio.Lock(), ""

        async def with_cursor(message: Message) -> None:
            nonlocal cursor
            async with whole_line:
                await send(message)
                if message["type"] == "http.response.body" and message.get("body"):
                    cursor = json.loads(message["body"])["cursor"]

        async def lie() -> None:
            while True:
                await asyncio.sleep(LIE_SECONDS)
                async with whole_line:
                    for line in self._lies(cursor) if cursor else ():
                        await send({"type": "http.response.body", "body": line, "more_body": True})

        lying = asyncio.create_task(lie())
        try:
            await self._app(scope, receive, with_cursor)
        finally:
            lying.cancel()

    def _lies(self, cursor: str) -> list[bytes]:
        found = [Event(type=EventType.HEARTBEAT, cursor=cursor)]
        for record in self._supervisor.states():
            told = attempt_status(record, None).model_copy(
                update={
                    "state": AttemptState.RUNNING,
                    "ended": False,
                    "result": None,
                    "failure": None,
                    "progress": ShardProgress(
                        done=self._random.randint(-(10**9), 10**9), total=self._random.randint(0, 9)
                    ),
                }
            )
            found.append(Event(type=EventType.ATTEMPT, cursor=cursor, attempt=told))
        return [json.dumps(event.dump()).encode() + b"\n" for event in found]


class _Garbage:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in ("/v1/identity", "/v1/machine"):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": _GARBAGE})
