"""How many rows of one Mac are held at most until they are settled. The others stay on the Mac. Pure."""

from __future__ import annotations

MAX_HELD_ROWS = 5000
"""Some 8 MB. While the archive answers, a statement is written when a thousand are settled."""


class RowRoom:
    """While rows can be settled, the bound is moved on at each renewal: rows of attempts that are still open may fill
    it, and the rows that end these lie behind it. While nothing can be settled, as the archive is down, it stays.
    """

    def __init__(self) -> None:
        self._most = MAX_HELD_ROWS

    def left(self, held: int) -> int:
        return max(0, self._most - held)

    def renewed(self, held: int, *, settles: bool) -> None:
        self._most = MAX_HELD_ROWS + (held if settles else 0)
