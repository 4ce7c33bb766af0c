"""Which paths an endpoint answers. Pure."""

from __future__ import annotations

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.job_task import Task
from voxfleet_gateway.refusals import CallRefused

_PATHS = {Task.TRANSCRIBE: "/v1/audio/transcriptions", Task.SYNTHESIZE: "/v1/audio/speech"}


def check_task(endpoint: VoiceEndpoint, task: Task) -> None:
    """Raises CallRefused(404) for a call that another task is there for."""
    if endpoint.spec.task is not task:
        raise CallRefused(
            404, "not_this_task", f"the endpoint's task is {endpoint.spec.task}; call {_PATHS[endpoint.spec.task]}"
        )
