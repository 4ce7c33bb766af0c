"""Tells one agent which interactive lanes it is to hold and to drop, for as long as there is contact."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.delivery import Delivery
from voxfleet_operator.fleet.lane_orders import LaneLetter, LaneNews, LaneOrders
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.fleet.mac_view import AgentRefused, AgentUnreachable, LaneAnswer, Outcome

CALLS_AT_ONCE = 1
"""The connections to an agent are few, and an answer takes no longer than the way."""


class LaneConversation:
    """One machine's. What the agent answers stands in the record's view."""

    def __init__(
        self,
        record: MacRecord,
        clock: Callable[[], float],
        on_news: Callable[[str, LaneNews], None],
        log: FilteringBoundLogger,
    ) -> None:
        """`on_news` gets the UID of the endpoint of whose lane the agent says something new."""
        self._record = record
        self._clock = clock
        self._on_news = on_news
        self._log = log
        self._orders = LaneOrders()
        self._delivery = Delivery(self._orders, clock, calls_at_once=CALLS_AT_ONCE)

    def hold(self, key: LaneKey, request: LaneRequest | None) -> None:
        self._orders.hold(key, request)
        self._delivery.wake()

    def drop(self, key: LaneKey) -> None:
        self._orders.drop(key)
        self._delivery.wake()

    def connection_lost(self) -> None:
        self._orders.connection_lost()
        self._record.lanes_answered(self._orders.answers())

    async def tell(self, client: AgentClient, following: asyncio.Event) -> None:
        """Runs until it is cancelled."""
        await following.wait()
        await self._delivery.run(lambda letter: self._send(client, letter))

    async def _send(self, client: AgentClient, letter: LaneLetter) -> None:
        answer = LaneAnswer(Outcome.UNKNOWN, self._clock())
        try:
            answer = await self._call(client, letter)
        except AgentRefused as error:
            answer = LaneAnswer(Outcome.REFUSED, self._clock(), refusal=error)
        except AgentUnreachable as error:
            self._log.warning(
                "lane_unanswered", uid=letter.key.endpoint_uid, generation=letter.key.generation, error=str(error)
            )
            answer = LaneAnswer(Outcome.UNKNOWN, self._clock())
        finally:
            news = self._orders.answered(letter, answer)
            self._record.lanes_answered(self._orders.answers())
            if news:
                self._on_news(letter.key.endpoint_uid, news)

    async def _call(self, client: AgentClient, letter: LaneLetter) -> LaneAnswer:
        if letter.drops:
            gone = await client.delete_lane(*letter.key)
            return LaneAnswer(Outcome.GONE if gone else Outcome.DELETING, self._clock())
        if letter.request is not None:
            status = await client.put_lane(*letter.key, letter.request)
            return LaneAnswer(Outcome.ACCEPTED, self._clock(), status)
        found = await client.lane(*letter.key)
        return LaneAnswer(Outcome.GONE if found is None else Outcome.ACCEPTED, self._clock(), found)
