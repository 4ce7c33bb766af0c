"""The lines of one Mac in a month's bill. Pure.

Its rows by chain and number, each followed by what is missing to its minimum; its estimated time; its idle time by day;
what is missing to the minimums of its days or of its month.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from voxfleet_api.ledger import RowOwner
from voxfleet_api.opening_hours import UnusableHours
from voxfleet_billing.archive_format import MonthIndex, TimeClass
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.charge import Charge, ChargeKind, CommitmentStatus, Money
from voxfleet_billing.facts_in_time import FactsInTime, Then
from voxfleet_billing.idle import BusyTime, IdleDay, idle_days, rented
from voxfleet_billing.instants import milliseconds_of, month_bounds, text_of
from voxfleet_billing.minimums import Minimums, Reached, of_row
from voxfleet_billing.money import ZERO, hours_of
from voxfleet_billing.month_sums import MonthSums
from voxfleet_billing.price_book import PriceBook
from voxfleet_billing.pricing import Hours, OpenCommitment, Price, Pricing, cost, time_cost, within_commitment

COUNTED_ELSEWHERE = "of another control plane, which counts it"
NOT_PROVEN = "no signed row proves this time; it is not charged"


class Unbillable(Exception):
    """A bill cannot be made; the message names the Mac and says what to do."""


class EstimatedWork(Protocol):
    """Of a settlement record: what it says of an attempt."""

    @property
    def estimated_milliseconds(self) -> int: ...
    @property
    def owner(self) -> RowOwner: ...


Settlements = Mapping[tuple[str, int], EstimatedWork]
"""By shard uid and attempt."""


class MacCharges:
    """One Mac after the other, in the bill's order: what of a commitment one leaves is there for the next."""

    def __init__(self, month: str, book: PriceBook | None, until: int | None = None, left: Hours | None = None) -> None:
        """`until` (milliseconds since 1970): later time is not idle yet. `left`: what is left of commitments."""
        self._book = book
        self._start, self._end = month_bounds(month)
        self._until = self._end if until is None else min(until, self._end)
        self._start_text, self._end_text = text_of(self._start), text_of(self._end)
        self._teams: dict[tuple[str, str], str] = {}
        self.pricing = Pricing(book, month, left)
        self.sums = MonthSums()

    def lines(self, index: MonthIndex, rows: Iterable[ArchivedRow], settlements: Settlements) -> Iterator[Charge]:
        """Raises Unbillable, and what `rows` raises."""
        bill = self.sums.bill
        for line in self._lines(index, rows, settlements):
            bill(line)
            yield line

    def _lines(self, index: MonthIndex, rows: Iterable[ArchivedRow], settlements: Settlements) -> Iterator[Charge]:
        facts, busy, reached = FactsInTime(index.facts), BusyTime(), Minimums(self._start, self._end)
        for row in rows:
            try:
                start, end = milliseconds_of(row.wall_start), milliseconds_of(row.wall_end)
            except (ValueError, TypeError) as error:  # TypeError: without a time zone
                name = f"Mac {index.mac}: row {row.chain_id}#{row.sequence}"
                raise Unbillable(f"{name}: its wall times are none: {error}; see voxfleet bill verify") from error
            busy.add(start, end)
            then = facts.at(start, row.hardware_id)
            price = self.pricing.price(then.facts, row.price_class, row.wall_start[:10])
            correction = start < self._start
            money, commitment = self._row_money(row, price, then.sku, correction)
            line = self._usage(index, row, then, price, money, commitment, correction)
            yield line
            if money is None or price.lessor is None or price.rate is None or row.time_class == TimeClass.FOREIGN:
                continue
            missing = of_row(price.lessor, price.rate, money)
            if missing is not None:
                yield _minimum(line, missing)
            if not correction:
                reached.used(price.lessor, price.rate, money, start)
                self.sums.shares.add(line)
        yield from self._estimated(index, settlements, facts.last)
        try:
            parts = rented(index.facts, self._start, self._until)
        except UnusableHours as error:
            raise Unbillable(f"Mac {index.mac}: {error}; its facts are in the archive's index of the month") from error
        for day in idle_days(parts, busy.union()):
            line, price = self._idle(index, day)
            yield line
            if line.money is not None and price.lessor is not None and price.rate is not None:
                reached.idled(price.lessor, price.rate, line.money, day.start)
        for period in reached.by_time():
            missing = period.missing()
            if missing is not None:
                yield self._missing(index, period, missing, facts.last_of(period.lessor.name))

    def _row_money(
        self, row: ArchivedRow, price: Price, sku: str, correction: bool
    ) -> tuple[Money | None, OpenCommitment | None]:
        if price.lessor is None or price.rate is None:
            return None, None
        if row.time_class == TimeClass.FOREIGN:
            return cost(price.lessor, hours_of(row.milliseconds), ZERO, ZERO), None
        money = time_cost(price, row.milliseconds)
        if money is None or correction:
            return money, None
        commitment = self.pricing.commitment_for(price.lessor, sku, money.quantity)
        return (money, None) if commitment is None else (within_commitment(money, commitment), commitment)

    def _usage(
        self,
        index: MonthIndex,
        row: ArchivedRow,
        then: Then,
        price: Price,
        money: Money | None,
        commitment: OpenCommitment | None,
        correction: bool,
    ) -> Charge:
        billing_key = row.billing_key or ""
        return Charge(
            ChargeKind.USAGE,
            correction,
            index.mac,
            row.hardware_id,
            row.wall_start,
            row.wall_end,
            row.milliseconds,
            row.time_class,
            row.price_class or "",
            row.lane,
            row.activity,
            row.owner_kind,
            row.owner_namespace,
            row.owner_name,
            row.owner_uid,
            row.shard_uid,
            row.attempt,
            billing_key,
            self._team(billing_key, row.owner_namespace),
            then.lessor,
            then.billing_key,
            then.sku,
            row.audio_milliseconds,
            row.clips,
            row.paused_milliseconds,
            f"{row.chain_id}#{row.sequence}",
            row.hash,
            row.signature,
            money,
            COUNTED_ELSEWHERE if row.time_class == TimeClass.FOREIGN else price.note,
            then.machine,
            "" if commitment is None else commitment.name,
            "" if commitment is None else CommitmentStatus.USED,
        )

    def _idle(self, index: MonthIndex, day: IdleDay) -> tuple[Charge, Price]:
        facts, start = day.facts, text_of(day.start)
        price = self.pricing.price(facts, None, start[:10])
        line = _of_mac(index, ChargeKind.IDLE, Then.of(facts), start, text_of(day.end), day.milliseconds)
        money = time_cost(price, day.milliseconds, idle=True)
        return replace(line, time_class=ChargeKind.IDLE.value, money=money, note=price.note), price

    def _estimated(self, index: MonthIndex, settlements: Settlements, then: Then) -> Iterator[Charge]:
        for (shard_uid, attempt), work in sorted(settlements.items()):
            if work.estimated_milliseconds > 0:
                owner, start, end = work.owner, self._start_text, self._end_text
                line = _of_mac(index, ChargeKind.ESTIMATED, then, start, end, work.estimated_milliseconds)
                yield replace(
                    line,
                    owner_kind=owner.kind,
                    namespace=owner.namespace,
                    owner_name=owner.name,
                    owner_uid=owner.uid,
                    shard_uid=shard_uid,
                    attempt=attempt,
                    team=self._team("", owner.namespace),
                    note=NOT_PROVEN,
                )

    def _missing(self, index: MonthIndex, period: Reached, money: Money, then: Then) -> Charge:
        line = _of_mac(index, ChargeKind.MINIMUM, then, period.start, period.end, 0)
        per = "month" if (period.start, period.end) == (self._start_text, self._end_text) else "day"
        return replace(line, lessor=period.lessor.name, money=money, note=f"missing to the minimum of a {per}")

    def _team(self, billing_key: str, namespace: str) -> str:
        if self._book is None:
            return ""
        key = (billing_key, namespace)
        found = self._teams.get(key)
        if found is None:
            found = self._teams[key] = self._book.team(billing_key, namespace)
        return found


def _of_mac(index: MonthIndex, kind: ChargeKind, then: Then, start: str, end: str, milliseconds: int) -> Charge:
    line = Charge(kind, False, index.mac, "", start, end, milliseconds, "", "")
    if then.facts is None:
        return line
    return replace(
        line,
        hardware_id=then.facts.hardware_id,
        lessor=then.lessor,
        lessor_billing_key=then.billing_key,
        sku=then.sku,
        machine=then.machine,
    )


def _minimum(line: Charge, money: Money) -> Charge:
    return replace(
        line,
        kind=ChargeKind.MINIMUM,
        milliseconds=0,
        audio_milliseconds=0,
        clips=0,
        paused_milliseconds=0,
        money=money,
        note="missing to the minimum of a row",
        commitment="",
        commitment_status="",
    )
