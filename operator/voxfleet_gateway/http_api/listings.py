"""GET /v1/models and /v1/audio/voices: what an endpoint can be asked for."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.job_task import Task
from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.http_api.speech_options import ENDPOINTS_VOICE
from voxfleet_gateway.served_models import check_model, model_names
from voxfleet_gateway.served_task import check_task


async def models(request: web.Request, call: ApiCall) -> web.StreamResponse:
    return web.json_response(listed_models(call.endpoint))


async def model(request: web.Request, call: ApiCall) -> web.StreamResponse:
    """Raises CallRefused."""
    name = request.match_info["model"]
    check_model(call.endpoint, name)
    return web.json_response(_listed_model(call.endpoint, name))


async def voices(request: web.Request, call: ApiCall) -> web.StreamResponse:
    """Raises CallRefused."""
    check_task(call.endpoint, Task.SYNTHESIZE)
    check_model(call.endpoint, request.query.get("model"))
    return web.json_response(listed_voices(call.endpoint))


def listed_models(endpoint: VoiceEndpoint) -> dict[str, object]:
    """As OpenAI's API lists models."""
    return {"object": "list", "data": [_listed_model(endpoint, name) for name in model_names(endpoint)]}


def _listed_model(endpoint: VoiceEndpoint, name: str) -> dict[str, object]:
    stamp = endpoint.metadata.creation_timestamp
    created = int(datetime.fromisoformat(stamp).timestamp()) if stamp else 0
    return {"id": name, "object": "model", "created": created, "owned_by": endpoint.metadata.namespace}


def listed_voices(endpoint: VoiceEndpoint) -> dict[str, object]:
    """As mlx-audio's server lists voices: the endpoint's own, by its name too where it is one of the model."""
    synthesis = endpoint.spec.synthesis
    named = synthesis.voice if synthesis is not None else None
    names = [ENDPOINTS_VOICE] if named is None else [ENDPOINTS_VOICE, named]
    return {
        "object": "list",
        "model": endpoint.metadata.name,
        "data": [{"id": name, "name": name} for name in names],
    }
