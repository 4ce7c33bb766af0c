"""What placement says of a VoiceEndpoint's lanes, and which lanes are about to be assigned. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from voxfleet_api.kinds import VoiceEndpoint


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Why a Mac that has a lane of the endpoint must not keep it."""

    why: str
    at_once: bool
    """Whether it goes before another one is warm in its place."""


@dataclass(frozen=True, slots=True)
class LanePlaces:
    """Where an endpoint may have lanes, as all Macs are at one moment."""

    candidates: tuple[str, ...] = ()
    """The Macs that can take a lane now and have none, the best one first."""
    given_up: Mapping[str, GivenUp] = field(default_factory=dict)
    """By Mac, of those that have one."""
    pending_reason: str = ""
    """`0/3 Macs fit: ...`, for a lane that none of the candidates takes."""
    wake_after_seconds: float | None = None
    """When a Mac's pause ends, or it opens or closes."""


class LanePlacesOf(Protocol):
    """Placement knows."""

    def __call__(self, endpoint: VoiceEndpoint, /, *, elsewhere: bool = True) -> LanePlaces:
        """`elsewhere` False: only of the Macs that its status names, for an endpoint that needs no other."""
        ...


def no_places(_: VoiceEndpoint, *, elsewhere: bool = True) -> LanePlaces:
    return LanePlaces(pending_reason="0/0 Macs fit: there is no MacAgent; apply one")


class LaneClaims:
    """The lanes that are being written into a status now, so that no other endpoint is given the same room.

    Statuses say all others.
    """

    def __init__(self) -> None:
        self._macs: dict[str, frozenset[str]] = {}

    def claim(self, endpoint_uid: str, macs: Iterable[str]) -> None:
        self._macs[endpoint_uid] = frozenset(macs)

    def release(self, endpoint_uid: str) -> None:
        self._macs.pop(endpoint_uid, None)

    def on(self, mac: str) -> Collection[str]:
        """The UIDs of the endpoints that claim a lane on the Mac."""
        return [uid for uid, macs in self._macs.items() if mac in macs]
