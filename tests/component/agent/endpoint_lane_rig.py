"""An agent with warm lanes of endpoints, whose children count instead of hearing, and an operator's calls for them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from tests.component.agent.agent_rig import CONTRACT, MODEL, TIMEOUT_SECONDS, Agent, ManualClock, running_agent

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.lane_protocol.session_messages import OpenHearing
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, EndpointRef, LaneRequest, LaneStatus
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.pools import PoolKind

OPEN_HEARING = OpenHearing(session=0, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=1000)
STAND_IN = Path(__file__).parents[1] / "lanes" / "session_stand_in.py"


class FoundModels:
    """The model is there, unless a test says otherwise."""

    def __init__(self) -> None:
        self.error: VoxFleetError | None = None
        self.resolved = 0
        self.gate = asyncio.Event()
        """While it is not set, models are still being fetched."""
        self.gate.set()

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        self.resolved += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return MODEL


@asynccontextmanager
async def agent_with_lanes(
    folder: Path,
    *,
    lanes: int = 1,
    load: list[str] | None = None,
    models: FoundModels | None = None,
    clock: ManualClock | None = None,
    allow: tuple[str, ...] | None = None,
    memory_short: Callable[[], bool] = lambda: False,
    burning_seconds: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Agent]:
    worker = (sys.executable, str(STAND_IN), json.dumps({"load": load or [""]}))
    pool = PoolConfig(name="interactive", lanes=lanes, memory_cap="1Gi", kind=PoolKind.INTERACTIVE)
    pools = InteractivePools((pool,), folder / "lanes", worker=worker)
    found = models or FoundModels()
    async with running_agent(
        folder,
        clock=clock,
        interactive_lanes=pools,
        models=found,
        allow=allow,
        memory_short=memory_short,
        burning_seconds=burning_seconds,
    ) as agent:
        yield agent
    await pools.close()


def lane_request(
    uid: str = "endpoint-1", generation: int = 1, lease_seconds: int = 60, extra: dict[str, object] | None = None,
    model_digest: str | None = None, **changes: object,
) -> LaneRequest:  # fmt: skip
    spec = EndpointLaneSpec.model_validate(
        {
            "namespace": "speech",
            "endpoint": EndpointRef(name="captions", uid=uid),
            "generation": generation,
            "task": Task.TRANSCRIBE,
            "contract": CONTRACT,
            "contract_digest": digest_of(CONTRACT),
            "model": ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
            "memory_cap": "512Mi",
            "max_sessions": 2,
            "max_turn_seconds": 30,
            **changes,
        }
    )
    content = spec.dump() | (extra or {})
    return LaneRequest(
        spec_digest=digest_of(content),
        spec=content,
        lease_seconds=lease_seconds,
        uri_prefixes=("file:///data/open/",),
        model_digest=model_digest,
    )


REQUEST = lane_request()


def path_of(request: LaneRequest) -> str:
    spec = EndpointLaneSpec.load(request.spec)
    return f"/v1/lanes/{spec.endpoint.uid}/{spec.generation}"


async def put(agent: Agent, request: LaneRequest, epoch: int = 1, path: str | None = None) -> httpx.Response:
    return await agent.http.put(path or path_of(request), json=request.dump(), headers=agent.headers(epoch=epoch))


async def delete(agent: Agent, path: str) -> int:
    return (await agent.http.delete(path, headers=agent.headers())).status_code


async def status(agent: Agent, path: str) -> LaneStatus | None:
    answer = await agent.http.get(path)
    return None if answer.status_code == 404 else LaneStatus.load(answer.json())


async def until(agent: Agent, state: str | None, path: str = "/v1/lanes/endpoint-1/1") -> LaneStatus:
    """Waits until the lane has this state; None: until it is gone."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            found = await status(agent, path)
            if (None if found is None else found.state) == state:
                return found or LaneStatus(
                    endpoint_uid="", generation=0, spec_digest="", namespace="", endpoint="", state="Deleting"
                )
            await asyncio.sleep(0.01)


def loads(agent: Agent, slot: int = 0) -> int:
    file = agent.folder / "lanes" / f"interactive-{slot}" / "loads"
    return len(file.read_text()) if file.exists() else 0
