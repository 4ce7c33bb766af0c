"""The price book as a file that is replaced while the operator runs, as a mounted ConfigMap is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from voxfleet_billing.price_book import PriceBook, PriceBookError, load_price_book

MAX_BYTES = 1_000_000
"""A ConfigMap holds no more."""

log = structlog.get_logger(__name__)


class PriceBookFile:
    """Keeps the last content that could be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: bytes | str | None = None
        """The content that was last looked at, or why there was none."""
        self.book: PriceBook | None = None
        self.problem: str | None = None
        """Why the file cannot be used as it is now, and what is used instead."""

    async def refresh(self) -> bool:
        """True if book or problem are others now. Reads in a thread: a mounted file system may hang."""
        seen = await asyncio.to_thread(self._read)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            if isinstance(seen, str):
                raise PriceBookError(seen)
            book = load_price_book(seen.decode())
        except (PriceBookError, UnicodeDecodeError) as error:
            kept = "no prices and budgets are known" if self.book is None else f"{self.book.digest} still counts"
            self.problem = f"price book {self._path} cannot be used: {error}; until it is mended, {kept}"
            log.error("price book refused", path=str(self._path), error=str(error), kept=kept)
            return True
        self.book, self.problem = book, None
        log.info("price book read", path=str(self._path), digest=book.digest, budgets=len(book.budgets))
        return True

    def _read(self) -> bytes | str:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
        return content if len(content) <= MAX_BYTES else f"it has more than {MAX_BYTES} bytes; write fewer entries"
