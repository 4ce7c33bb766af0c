"""The network between operators and Macs: delays, loss, repetition, reordering, and partitions in either direction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from random import Random

LATEST_SECONDS = 30.0
"""No message arrives later than this after it was sent."""


class Network:
    def __init__(self, random: Random, edges: Counter[str]) -> None:
        self.loss = self.slowness = self.repetition = 0.0
        """Shares of messages that get lost, take seconds, and arrive twice."""
        self._random = random
        self._edges = edges
        self._down_until: dict[tuple[str, str], float] = {}
        self._context = Context()

    def cut(self, sender: str, receiver: str, until: float) -> None:
        self._down_until[sender, receiver] = max(until, self._down_until.get((sender, receiver), 0.0))

    def heal(self) -> None:
        self.loss = self.slowness = self.repetition = 0.0
        self._down_until.clear()

    def is_down(self, sender: str, receiver: str) -> bool:
        return self._down_until.get((sender, receiver), 0.0) > asyncio.get_running_loop().time()

    def delay_seconds(self) -> float:
        if self.slowness and self._random.random() < self.slowness:
            self._edges["network.slow"] += 1
            return self._random.uniform(0.5, LATEST_SECONDS - 5)
        return self._random.uniform(0.001, 0.03)

    def send(
        self, sender: str, receiver: str, deliver: Callable[[], None], *, repeatable: bool = False, after: float = 0.0
    ) -> float:
        """Calls `deliver` later, never, or if the message may be `repeatable` twice. Returns when it arrives.

        `after`: the message stays behind an earlier one of its stream, which arrives then; it is never lost alone.
        """
        loop = asyncio.get_running_loop()
        sent = loop.time()
        if not after and self.loss and self._random.random() < self.loss:
            self._edges["network.lost"] += 1
            return sent
        arrival = max(sent + self.delay_seconds(), after)
        self._arrive_at(arrival, sent, (sender, receiver), deliver)
        if repeatable and self.repetition and self._random.random() < self.repetition:
            self._edges["network.repeated"] += 1
            self._arrive_at(sent + self._random.uniform(0.01, LATEST_SECONDS - 1), sent, (sender, receiver), deliver)
        return arrival

    def _arrive_at(self, at: float, sent: float, link: tuple[str, str], deliver: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_at(at, self._arrive, sent, link, deliver, context=self._context)

    def _arrive(self, sent: float, link: tuple[str, str], deliver: Callable[[], None]) -> None:
        now = asyncio.get_running_loop().time()
        up_at = self._down_until.get(link, 0.0)
        if up_at <= now:
            deliver()
        elif up_at - sent < LATEST_SECONDS:
            self._edges["network.held back"] += 1
            self._arrive_at(up_at + self._random.uniform(0, 0.05), sent, link, deliver)
        else:
            self._edges["network.cut off"] += 1
