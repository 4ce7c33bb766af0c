"""Decides which reservations of scratch are granted, which wait and which are refused. No I/O, no clock.

Every reserved byte belongs to an attempt, its owner, and is of one of two kinds. Passing bytes, such as a fetched clip,
are released although their owner gets no further byte. Kept bytes, such as the recording of a voice, stay until the
attempt ends. Three rules let every attempt come to an end:

1. Kept bytes are granted only when the largest file that an owner of kept bytes will need beside them still fits, after
   all passing bytes are released.
2. An owner without passing bytes can only wait for others. Whoever asks after it gets none of the bytes that come back
   until there are enough for it.
3. What no release of passing bytes can make fit depends on the end of another attempt or on other programs. Only there
   may a wait last; the caller gives it a deadline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum


class Wait(Enum):
    """What a reservation that does not fit waits for."""

    NOTHING = "nothing can make it fit"
    PASSING_BYTES = "the release of passing bytes makes it fit"
    OTHERS = "the end of another attempt, or of what other programs store, makes it fit"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Asks for room for one file."""

    owner: str
    name: str
    size_bytes: int
    beside_bytes: int | None = None
    """For a file that is kept until the attempt ends: the largest passing file that the owner will need beside it."""

    @property
    def kept(self) -> bool:
        return self.beside_bytes is not None


@dataclass(frozen=True, slots=True)
class Volume:
    """The scratch volume as it is now."""

    capacity_bytes: int
    free_bytes: int
    """What is left when everything that is reserved has been written."""
    returning_bytes: int
    """What becomes free when all passing bytes are released."""
    min_free_bytes: int

    def after(self, request: Request) -> Volume:
        """The volume once the request is granted."""
        returning_bytes = 0 if request.kept else request.size_bytes
        return replace(
            self,
            free_bytes=self.free_bytes - request.size_bytes,
            returning_bytes=self.returning_bytes + returning_bytes,
        )


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a request is not granted now."""

    wait: Wait
    reason: str
    """With the arithmetic and what to change."""


@dataclass(slots=True)
class _Owner:
    limit_bytes: int
    """The contract's scratch.maxBytes."""
    granted: dict[str, Request] = field(default_factory=dict)
    """By file name."""

    @property
    def kept_bytes(self) -> int:
        return sum(request.size_bytes for request in self.granted.values() if request.kept)

    @property
    def used_bytes(self) -> int:
        return sum(request.size_bytes for request in self.granted.values())

    @property
    def beside_bytes(self) -> int:
        return max((request.beside_bytes or 0 for request in self.granted.values()), default=0)

    @property
    def has_passing(self) -> bool:
        return any(not request.kept for request in self.granted.values())


class Reservations:
    """What is granted and what waits, by owner."""

    def __init__(self, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self._owners: dict[str, _Owner] = {}
        self._waiting: list[Request] = []

    @property
    def used_bytes(self) -> int:
        return sum(owner.used_bytes for owner in self._owners.values())

    @property
    def waiting_bytes(self) -> int:
        return sum(request.size_bytes for request in self._waiting)

    def granted(self) -> Iterable[Request]:
        return (request for owner in self._owners.values() for request in owner.granted.values())

    def used_by(self, owner: str) -> int:
        return self._owners[owner].used_bytes if owner in self._owners else 0

    def is_idle(self, owner: str) -> bool:
        """Whether the owner has no passing bytes: nothing of its own will come back."""
        return not self._owners[owner].has_passing

    def open(self, owner: str, limit_bytes: int) -> None:
        """Begins an attempt, or begins it anew: nothing of an earlier run of it is reserved any more."""
        self.close(owner)
        self._owners[owner] = _Owner(limit_bytes)

    def close(self, owner: str) -> None:
        """Ends an attempt: releases whatever it has and forgets what it waits for."""
        self._owners.pop(owner, None)
        self._waiting = [request for request in self._waiting if request.owner != owner]

    def ask(self, request: Request) -> None:
        """Queues a request; `serve` decides on it. Raises ValueError for a name that the owner has or waits for."""
        names = {*self._owners[request.owner].granted, *(each.name for each in self._of(request.owner))}
        if request.name in names:
            raise ValueError(f"{request.name} is reserved already")
        self._waiting.append(request)

    def withdraw(self, request: Request) -> None:
        """Takes back a request that may still wait."""
        self._waiting = [each for each in self._waiting if each is not request]

    def is_granted(self, request: Request) -> bool:
        """Whether this very request holds its bytes, not one of the same name."""
        owner = self._owners.get(request.owner)
        return owner is not None and owner.granted.get(request.name) is request

    def release(self, request: Request) -> bool:
        """Gives a file's bytes back; returns False when the request does not hold them."""
        if not self.is_granted(request):
            return False
        del self._owners[request.owner].granted[request.name]
        return True

    def serve(self, volume: Volume) -> tuple[list[Request], list[tuple[Request, Obstacle]]]:
        """Decides on all that wait: (granted, refused with the reason). What is in neither list goes on waiting."""
        granted: list[Request] = []
        refused: list[tuple[Request, Obstacle]] = []
        for request in self._waiting:
            obstacle = self.obstacle(request, volume)
            if obstacle is not None and obstacle.wait is Wait.NOTHING:
                refused.append((request, obstacle))
        for request, _ in refused:
            self.withdraw(request)
        while (chosen := self._next_grant(volume)) is not None:
            self.withdraw(chosen)
            self._owners[chosen.owner].granted[chosen.name] = chosen
            volume = volume.after(chosen)
            granted.append(chosen)
        return granted, refused

    def _next_grant(self, volume: Volume) -> Request | None:
        for request in self._waiting:
            obstacle = self.obstacle(request, volume)
            if obstacle is None:
                return request
            if obstacle.wait is Wait.PASSING_BYTES and self.is_idle(request.owner):
                return None  # the bytes that come back are this one's
        return None

    def obstacle(self, request: Request, volume: Volume) -> Obstacle | None:
        """What keeps the request from being granted; None when it fits."""
        return (
            self._never_fits(request, volume)
            or self._exceeds_limit(request)
            or self._exceeds_quota(request)
            or self._exceeds_volume(request, volume)
        )

    def _never_fits(self, request: Request, volume: Volume) -> Obstacle | None:
        owner = self._owners[request.owner]
        needed_bytes = owner.kept_bytes + request.size_bytes + (request.beside_bytes or 0)
        if needed_bytes > owner.limit_bytes:
            reason = f"the contract's scratch.maxBytes is {owner.limit_bytes}; raise it"
        elif needed_bytes > self.quota_bytes:
            reason = f"scratch.quota of this Mac is {self.quota_bytes}; raise it, or use a Mac with more"
        elif needed_bytes + volume.min_free_bytes > volume.capacity_bytes:
            reason = (
                f"the scratch volume has {volume.capacity_bytes} bytes in all and scratch.minFree is"
                f" {volume.min_free_bytes}; use a larger volume"
            )
        else:
            return None
        return Obstacle(Wait.NOTHING, self._needs(request) + reason)

    def _exceeds_limit(self, request: Request) -> Obstacle | None:
        owner = self._owners[request.owner]
        if owner.used_bytes + request.size_bytes <= owner.limit_bytes:
            return None
        reason = f"the contract's scratch.maxBytes is {owner.limit_bytes} and the attempt uses {owner.used_bytes}"
        return Obstacle(Wait.PASSING_BYTES, f"{self._needs(request)}{reason}; raise it")

    def _exceeds_quota(self, request: Request) -> Obstacle | None:
        kept_bytes = sum(owner.kept_bytes for owner in self._owners.values())
        reason = (
            f"scratch.quota of this Mac is {self.quota_bytes} and {self.used_bytes} are in use, {kept_bytes} of them"
            " until their attempts end; raise it"
        )
        if request.beside_bytes is not None:
            beside_bytes = max(request.beside_bytes, *(owner.beside_bytes for owner in self._owners.values()))
            if kept_bytes + request.size_bytes + beside_bytes > self.quota_bytes:
                return Obstacle(Wait.OTHERS, self._needs(request) + reason)
        if self.used_bytes + request.size_bytes <= self.quota_bytes:
            return None
        enough = kept_bytes + request.size_bytes <= self.quota_bytes
        return Obstacle(Wait.PASSING_BYTES if enough else Wait.OTHERS, self._needs(request) + reason)

    def _exceeds_volume(self, request: Request, volume: Volume) -> Obstacle | None:
        missing_bytes = request.size_bytes + volume.min_free_bytes - volume.free_bytes
        if missing_bytes <= 0:
            return None
        reason = (
            f"the scratch volume has {volume.free_bytes} bytes free and scratch.minFree is {volume.min_free_bytes};"
            " free the volume"
        )
        enough = missing_bytes <= volume.returning_bytes
        return Obstacle(Wait.PASSING_BYTES if enough else Wait.OTHERS, self._needs(request) + reason)

    def _needs(self, request: Request) -> str:
        kept_bytes = self._owners[request.owner].kept_bytes
        needs = f"{request.size_bytes} bytes of scratch were needed"
        if request.beside_bytes is not None:
            needs += f" until the attempt ends and {request.beside_bytes} beside them"
        if kept_bytes:
            needs += f" beside {kept_bytes} that stay until the attempt ends"
        return f"{needs}, but "

    def _of(self, owner: str) -> Iterable[Request]:
        return (request for request in self._waiting if request.owner == owner)
