"""The WebSocket formats that clients speak: OpenAI's, and mlx-audio's server's."""

from __future__ import annotations

from voxfleet_gateway.api_call import ApiRoute
from voxfleet_gateway.realtime.routes import hear_mlx_audio, hear_openai

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("GET", "/v1/audio/transcriptions/realtime", hear_mlx_audio, is_socket=True),
    ApiRoute("GET", "/v1/realtime", hear_openai, is_socket=True),
)
