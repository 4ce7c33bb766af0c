"""The links of a gateway, one a Mac."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from voxfleet_api.kinds import MacAgent
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.mac_link import DialsMacs, MacLink
from voxfleet_operator.fleet.dialer import SecretReader

SPARE_CONNECTIONS = 4
"""To one agent, beside a connection a session: for those that are just being opened or closed."""


class MacLinks:
    def __init__(
        self,
        dialer: DialsMacs,
        secrets: SecretReader,
        *,
        control_plane: str,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialer = dialer
        self._secrets = secrets
        self._control_plane = control_plane
        self._max_connections = max_connections
        self._clock = clock
        self._links: dict[str, MacLink] = {}
        self._retired: list[MacLink] = []

    def state(self, mac: MacAgent) -> LinkState:
        link = self._links.get(mac.metadata.name)
        return LinkState.CLOSED if link is None or not self._fits(link, mac) else link.state

    def link(self, mac: MacAgent) -> MacLink:
        """The Mac's link, as its MacAgent is now: after a change that concerns it, another one."""
        known = self._links.get(mac.metadata.name)
        if known is not None and self._fits(known, mac):
            return known
        if known is not None:
            self._retire(known)
        link = self._links[mac.metadata.name] = MacLink(
            mac,
            self._dialer,
            self._secrets,
            control_plane=self._control_plane,
            max_connections=self._max_connections,
            clock=self._clock,
        )
        return link

    def forget(self, mac: MacAgent) -> None:
        """The MacAgent was deleted."""
        known = self._links.pop(mac.metadata.name, None)
        if known is not None:
            self._retire(known)

    def states(self) -> Counter[LinkState]:
        return Counter(link.state for link in self._links.values())

    @property
    def held_bytes(self) -> int:
        links = (*self._links.values(), *self._retired)
        return sum(session.held_bytes for link in links for session in link.sessions)

    async def close(self) -> None:
        links = (*self._links.values(), *self._retired)
        await asyncio.gather(*(link.close() for link in links))

    def _retire(self, link: MacLink) -> None:
        link.retire()
        self._retired = [old for old in (*self._retired, link) if not old.is_over]

    def _fits(self, link: MacLink, mac: MacAgent) -> bool:
        old, new = link.mac.spec, mac.spec
        return (
            not link.is_retired
            and link.mac.metadata.uid == mac.metadata.uid
            and self._dialer.same_connection(link.mac, mac)
            and old.session_token_secret_ref == new.session_token_secret_ref
            and old.ledger_public_key == new.ledger_public_key
        )
