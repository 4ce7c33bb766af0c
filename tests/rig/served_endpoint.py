"""A VoiceEndpoint and its contract, as a gateway's handlers get them, and a server with nothing but the handlers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_gateway.api_call import ApiCall, ApiRoute
from voxfleet_gateway.held_bytes import HeldBytes
from voxfleet_gateway.lane_session import OpensSessions
from voxfleet_gateway.refusals import CallRefused

TIMEOUT_SECONDS = 60.0


def voice_endpoint(**spec: object) -> VoiceEndpoint:
    """`spec`: fields beside those that every endpoint needs, in their JSON form."""
    return VoiceEndpoint.load(
        {
            "apiVersion": "voxfleet.dev/v1alpha1",
            "kind": "VoiceEndpoint",
            "metadata": {"name": "captions", "namespace": "radio"},
            "spec": {
                "contractRef": {"name": "speech"},
                "model": {"builtin": {"name": "commands"}},
                "memoryCap": "1Gi",
                "aliases": ["whisper-1"],
                **spec,
            },
        }
    )


def contract_spec(*sample_rates_hz: int) -> VoiceContractSpec:
    return VoiceContractSpec.load(
        {
            "input": {
                "containers": ["wav"],
                "encodings": ["pcm16"],
                "sampleRatesHz": list(sample_rates_hz or (16_000, 24_000)),
                "channels": [1],
                "maxClip": "60s",
            }
        }
    )


class ServedEndpoint:
    """Makes the calls of one endpoint's clients."""

    def __init__(self, endpoint: VoiceEndpoint, contract: VoiceContractSpec, open_session: OpensSessions) -> None:
        self.endpoint = endpoint
        self.contract = contract
        self.open_session = open_session
        self.closing = asyncio.Event()
        self.held_answers = HeldBytes()
        self.now_seconds: Callable[[], float] = time.monotonic
        self.left_seconds: float = endpoint.spec.session.max_seconds
        """How old a session may become."""

    def call(self) -> ApiCall:
        now = self.now_seconds()
        return ApiCall(
            endpoint=self.endpoint,
            contract=self.contract,
            open_session=self.open_session,
            received_seconds=now,
            now_seconds=self.now_seconds,
            closing=self.closing,
            held_answers=self.held_answers,
            deadline_seconds=now + self.left_seconds,
        )


@asynccontextmanager
async def serving(
    served: ServedEndpoint, routes: Iterable[ApiRoute], *, timeout_seconds: float | None = TIMEOUT_SECONDS
) -> AsyncIterator[str]:
    """Gives the address of the API below an endpoint's, as `http://127.0.0.1:PORT/radio/captions`.

    A test that waits longer for what never comes gets TimeoutError; None for a fixture that many tests share.
    """
    app = web.Application()
    for route in routes:
        app.router.add_route(route.method, f"/radio/captions{route.path}", partial(_handle, served, route))
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, _listener()).start()
    try:
        host, port = runner.addresses[0][:2]
        async with asyncio.timeout(timeout_seconds):
            yield f"http://{host}:{port}/radio/captions"
    finally:
        await runner.cleanup()


def _listener() -> socket.socket:
    """Its connections hold little, so that a test need not send much until nothing more goes through."""
    listener = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, 2**16)
    listener.bind(("127.0.0.1", 0))
    return listener


async def _handle(served: ServedEndpoint, route: ApiRoute, request: web.Request) -> web.StreamResponse:
    try:
        return await route.handler(request, served.call())
    except CallRefused as refused:
        return web.json_response(refused.error_object(), status=refused.status)
