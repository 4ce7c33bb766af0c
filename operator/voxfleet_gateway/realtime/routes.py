"""Handlers of the two formats."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from aiohttp import web

from voxfleet_api.kinds.job_task import Task
from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.realtime.liveness import SocketTimes
from voxfleet_gateway.realtime.mlx_audio_format import MlxAudioFormat
from voxfleet_gateway.realtime.openai_format import OpenAiFormat
from voxfleet_gateway.realtime.socket_session import serve_socket
from voxfleet_gateway.refusals import CallRefused
from voxfleet_gateway.served_task import check_task

_TRANSCRIPTION = "transcription"


async def hear_mlx_audio(request: web.Request, call: ApiCall) -> web.StreamResponse:
    check_task(call.endpoint, Task.TRANSCRIBE)
    return await serve_socket(request, call, MlxAudioFormat(call.endpoint, call.contract), SocketTimes())


async def hear_openai(request: web.Request, call: ApiCall) -> web.StreamResponse:
    check_task(call.endpoint, Task.TRANSCRIBE)
    _check_query(request)
    spoken = OpenAiFormat(call.endpoint, call.contract, request.query.get("model"), _new_id)
    return await serve_socket(request, call, spoken, SocketTimes())


def _check_query(request: web.Request) -> None:
    """Raises CallRefused(400) for what the session cannot be."""
    if request.query.get("intent", _TRANSCRIPTION) != _TRANSCRIPTION:
        raise CallRefused(
            HTTPStatus.BAD_REQUEST, "invalid_value", "intent: only transcription is served here", param="intent"
        )
    if "call_id" in request.query:
        raise CallRefused(
            HTTPStatus.BAD_REQUEST, "invalid_value", "call_id: calls are not served here; leave it out", param="call_id"
        )


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(8)}"
