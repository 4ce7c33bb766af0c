"""The WebSocket formats that clients speak: OpenAI's, and mlx-audio's server's."""

from __future__ import annotations

from voxfleet_gateway.api_call import ApiRoute

ROUTES: tuple[ApiRoute, ...] = ()
