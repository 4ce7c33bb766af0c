"""The HTTP formats that clients speak: OpenAI's, and mlx-audio's server's."""

from __future__ import annotations

from voxfleet_gateway.api_call import ApiRoute
from voxfleet_gateway.http_api.listings import model, models, voices
from voxfleet_gateway.http_api.speech import speak
from voxfleet_gateway.http_api.transcriptions import transcribe

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("POST", "/v1/audio/transcriptions", transcribe),
    ApiRoute("POST", "/v1/audio/speech", speak),
    ApiRoute("GET", "/v1/models", models),
    ApiRoute("GET", "/v1/models/{model:.+}", model),
    ApiRoute("GET", "/v1/audio/voices", voices),
)
