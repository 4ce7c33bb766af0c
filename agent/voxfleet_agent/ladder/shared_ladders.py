"""The ladders that Macs of one profile share through the operator: what this Mac tells, and what it takes over."""

from __future__ import annotations

import asyncio

import structlog

from voxfleet_agent.ladder.ladder_book import MacLadderBook, parse_table
from voxfleet_api.digest import digest_of
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.protocol import MAX_LADDER_CHARACTERS, MAX_REPORTED_LADDERS, LadderList, ReportedLadder

_log = structlog.get_logger(__name__)


class SharedLadders:
    def __init__(self, book: MacLadderBook) -> None:
        self._files, self._profile = book.files, book.profile

    def profile(self) -> str:
        return self._profile.digest()

    async def revision(self) -> str:
        """Another text whenever `told` may have changed."""
        written = await asyncio.to_thread(self._files.written)
        return digest_of([self.profile(), *(f"{key} {at}" for key, at in written)]).removeprefix("sha256:")

    async def told(self) -> LadderList:
        """The newest tables that hold for this Mac as it is now."""
        return await asyncio.to_thread(self._told)

    def _told(self) -> LadderList:
        found: list[ReportedLadder] = []
        for key, _ in self._files.written():
            table = self._files.get(key)
            if table is None or self._profile.key(table.model_digest, table.contract_digest) != key:
                continue  # measured with other packages or another memory cap
            plain = _as_measured(table).model_dump_json(by_alias=True, exclude_none=True)
            if len(plain) > MAX_LADDER_CHARACTERS:
                continue
            found.append(
                ReportedLadder(
                    profile=self.profile(),
                    model_digest=table.model_digest,
                    contract_digest=table.contract_digest,
                    audio_milliseconds_per_second=table.audio_milliseconds_per_second,
                    measured_on=table.measured_on,
                    table=plain,
                )
            )
            if len(found) == MAX_REPORTED_LADDERS:
                break
        return LadderList(ladders=tuple(found))

    async def take_over(self, handed: ReportedLadder, model_digest: str, contract_digest: str) -> None:
        """Stores a table that another Mac measured, if it holds here, for this model and contract, and there is none.

        What does not fit is left: then this Mac measures, as it would have done.
        """
        if (handed.profile, handed.model_digest, handed.contract_digest) != (
            self.profile(),
            model_digest,
            contract_digest,
        ):
            _log.info("ladder not taken over: it is of something else", measured_on=handed.measured_on)
            return
        await asyncio.to_thread(self._take_over, handed)

    def _take_over(self, handed: ReportedLadder) -> None:
        key = self._profile.key(handed.model_digest, handed.contract_digest)
        if self._files.get(key) is not None:
            return
        try:
            table = self._checked(handed)
            self._files.put(key, table)
        except ValueError as error:
            _log.warning("a handed ladder is not used", measured_on=handed.measured_on, error=type(error).__qualname__)
        except OSError as error:
            _log.warning("a handed ladder cannot be stored", reason=error.strerror)
        else:
            _log.info("ladder taken over", model=handed.model_digest, measured_on=handed.measured_on)

    def _checked(self, handed: ReportedLadder) -> LadderTable:
        """Raises ValueError."""
        table = parse_table(handed.table)
        if not self._profile.holds_for(table, handed.model_digest, handed.contract_digest):
            raise ValueError("the table is not of the profile, model and contract that it was handed with")
        return _as_measured(table).model_copy(update={"measured_on": handed.measured_on or "another Mac"})


def _as_measured(table: LadderTable) -> LadderTable:
    """What others may use: that a job ran short of memory here says nothing of another Mac."""
    return table.model_copy(
        update={"chosen": table.throughput_knee, "stepped_down_for": None, "measured_on": None},
    )
