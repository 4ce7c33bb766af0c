"""The items of a conversation, one for each turn of a session. Pure, and bounded by the turns that await their text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Item:
    id: str
    previous_id: str | None
    is_committed: bool = False


class Items:
    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._of_turn: dict[int, Item] = {}
        self._last_committed_id: str | None = None

    def of_turn(self, turn: int) -> tuple[Item, bool]:
        """The item, and whether it is new. A turn that begins leaves those before it that never were, for they were
        cleared."""
        item = self._of_turn.get(turn)
        if item is not None:
            return item, False
        cleared = [other for other, item in self._of_turn.items() if other < turn and not item.is_committed]
        for other in cleared:
            del self._of_turn[other]
        item = self._of_turn[turn] = Item(self._new_id(), self._last_committed_id)
        return item, True

    def commit(self, item: Item) -> None:
        item.is_committed = True
        self._last_committed_id = item.id

    def done(self, turn: int) -> None:
        self._of_turn.pop(turn, None)

    def __len__(self) -> int:
        return len(self._of_turn)
