"""What web pages of an endpoint's allowed origins are told, so that browsers let them read answers."""

from __future__ import annotations

from aiohttp import web

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_gateway.access.credentials import not_found

ORIGIN_KEY: web.RequestKey[str] = web.RequestKey("allowed-origin", str)
MAX_AGE_SECONDS = 600


def allow_origin(request: web.Request) -> None:
    """To be called once the gate has let the call in: the answer, whichever it is, then names its Origin."""
    origin = request.headers.get("Origin")
    if origin is not None:
        request[ORIGIN_KEY] = origin


async def name_origin(request: web.Request, response: web.StreamResponse) -> None:
    """A signal of the application, before headers are sent."""
    origin = request.get(ORIGIN_KEY)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"


def preflight(request: web.Request, endpoint: VoiceEndpoint | None) -> web.Response:
    """A browser asks whether it may send the call. Raises CallRefused(404) to pages that are not listed."""
    origin = request.headers.get("Origin")
    auth = None if endpoint is None else endpoint.spec.auth
    if origin is None or auth is None or origin not in auth.allowed_origins:
        raise not_found()
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
            "Vary": "Origin",
        },
    )
