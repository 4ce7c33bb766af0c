"""The endpoints of the protocol that are about the warm lanes of VoiceEndpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.server.requests import good_until, lane_key, parse_json
from voxfleet_agent.server.responses import RequestRefused, json_response, read_body
from voxfleet_api.endpoint_lanes import LaneList, LaneRequest


class LaneRoutes:
    def __init__(
        self,
        lanes: EndpointLanes,
        require_read: Callable[[Request], None],
        require_change: Callable[[Request], Awaitable[None]],
    ) -> None:
        """`require_read` and `require_change` raise RequestRefused for a caller that may not."""
        self._lanes = lanes
        self._require_read = require_read
        self._require_change = require_change

    def table(self) -> list[Route]:
        path = "/v1/lanes/{endpoint_uid}/{generation}"
        return [
            Route("/v1/lanes", self.lanes, methods=["GET"]),
            Route(path, self.lane, methods=["GET"]),
            Route(path, self.put_lane, methods=["PUT"]),
            Route(path, self.delete_lane, methods=["DELETE"]),
        ]

    async def lanes(self, request: Request) -> Response:
        self._require_read(request)
        return json_response(LaneList(lanes=tuple(self._lanes.statuses())))

    async def lane(self, request: Request) -> Response:
        self._require_read(request)
        status = self._lanes.status(lane_key(request))
        if status is None:
            raise RequestRefused.of(404, "this agent has no such lane")
        return json_response(status)

    async def put_lane(self, request: Request) -> Response:
        await self._require_change(request)
        key, until = lane_key(request), good_until(request)
        try:
            body = LaneRequest.load(parse_json(await read_body(request)))
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
            raise RequestRefused.of(400, f"the body is no lane request; look at: {fields}") from error
        result = await self._lanes.put(key, body, until)
        if isinstance(result, Refusal):
            raise RequestRefused(result)
        return json_response(result)

    async def delete_lane(self, request: Request) -> Response:
        await self._require_change(request)
        deleted = await self._lanes.delete(lane_key(request))
        return Response(status_code=204 if deleted else 202)
