"""The lines of a month's bill, out of the ledger archive and the price book. Pure, and one Mac at a time in memory.

Their order: Macs by name; of each its rows by chain and number, each followed by what is missing to its minimum; its
estimated time; its idle time by day; what is missing to the minimums of its days or of its month. Then what belongs to
no Mac: commitments, monthly fees, the rounding of invoices. The same archive and price book give the same lines.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from voxfleet_api.ledger import RowOwner
from voxfleet_api.opening_hours import UnusableHours
from voxfleet_billing.archive_format import MacFacts, MonthIndex, TimeClass
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.charge import Charge, ChargeKind, CommitmentStatus, Money
from voxfleet_billing.fees import FeeShares
from voxfleet_billing.idle import BusyTime, IdleDay, idle_days, rented
from voxfleet_billing.instants import DAY_MILLISECONDS, milliseconds_of, month_bounds, text_of
from voxfleet_billing.minimums import Reached, of_row
from voxfleet_billing.money import EXACT, ZERO, hours_of, rounded
from voxfleet_billing.price_book import Lessor, MinimumPeriod, PriceBook, Rate, RoundedAt
from voxfleet_billing.pricing import OpenCommitment, Price, Pricing, cost, time_cost, within_commitment

COUNTED_ELSEWHERE = "of another control plane, which counts it"
NOT_PROVEN = "no signed row proves this time; it is not charged"
GIBIBYTE = 2**30


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


def charges(
    month: str,
    indexes: Iterable[MonthIndex],
    rows_of: Callable[[MonthIndex], Iterable[ArchivedRow]],
    settlements_of: Callable[[MonthIndex], Settlements],
    book: PriceBook | None,
    *,
    until: int | None = None,
) -> Iterator[Charge]:
    """`indexes`: of that month, one a Mac, by name. `until` (milliseconds since 1970): later time is not idle yet.

    Without a price book no line has money; a line that has no price says why in its note. Raises Unbillable, and what
    `indexes` and `rows_of` raise.
    """
    bill = _Bill(month, book, until)
    billed: dict[str, Decimal] = {}
    for line in bill.lines(indexes, rows_of, settlements_of):
        if line.money is not None:
            billed[line.lessor] = EXACT.add(billed.get(line.lessor, ZERO), line.money.billed_cost)
        yield line
    yield from bill.roundings(billed)


class _Bill:
    def __init__(self, month: str, book: PriceBook | None, until: int | None) -> None:
        self._book = book
        self._pricing = Pricing(book, month)
        self._start, self._end = month_bounds(month)
        self._until = self._end if until is None else min(until, self._end)
        self._start_text, self._end_text = text_of(self._start), text_of(self._end)
        self._shares = FeeShares()
        self._teams: dict[tuple[str, str], str] = {}

    def lines(
        self,
        indexes: Iterable[MonthIndex],
        rows_of: Callable[[MonthIndex], Iterable[ArchivedRow]],
        settlements_of: Callable[[MonthIndex], Settlements],
    ) -> Iterator[Charge]:
        for index in indexes:
            yield from self._mac(index, rows_of(index), settlements_of(index))
        for lessor in () if self._book is None else self._book.lessors:
            for commitment in self._pricing.commitments[lessor.name]:
                yield from self._commitment(commitment)
            for fee in self._shares.lines(lessor, self._pricing.month):
                start, end = self._start_text, self._end_text
                yield replace(fee, start=start, end=end, team=self._team(fee.billing_key, fee.namespace))

    def roundings(self, billed: Mapping[str, Decimal]) -> Iterator[Charge]:
        for lessor in () if self._book is None else self._book.lessors:
            rule, total = lessor.rounding, billed.get(lessor.name)
            if total is None or rule.at is not RoundedAt.INVOICE:
                continue
            difference = EXACT.subtract(rounded(total, rule.unit, rule.mode), total)
            if difference:
                money = Money(lessor.currency, ZERO, ZERO, ZERO, ZERO, difference, difference)
                yield self._of_lessor(
                    ChargeKind.ROUNDING, lessor, money, f"invoice rounded to {rule.unit}: {rule.mode}"
                )

    def _mac(self, index: MonthIndex, rows: Iterable[ArchivedRow], settlements: Settlements) -> Iterator[Charge]:
        facts, busy, reached = _FactsInTime(index.facts), BusyTime(), _Minimums()
        for row in rows:
            start, end = milliseconds_of(row.wall_start), milliseconds_of(row.wall_end)
            busy.add(start, end)
            then = facts.at(start, row.hardware_id)
            price = self._pricing.price(then.facts, row.price_class, row.wall_start[:10])
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
                reached.used(price.lessor, price.rate, money, start, self._start)
                self._shares.add(line)
        yield from self._estimated(index, settlements, facts.last)
        try:
            parts = rented(index.facts, self._start, self._until)
        except UnusableHours as error:
            raise Unbillable(f"Mac {index.mac}: {error}; its facts are in the archive's index of the month") from error
        for day in idle_days(parts, busy.union()):
            line, price = self._idle(index, day)
            yield line
            if line.money is not None and price.lessor is not None and price.rate is not None:
                reached.idled(price.lessor, price.rate, line.money, day.start, self._start)
        for key, period in reached.by_time():
            missing = period.missing()
            if missing is not None:
                yield self._missing(index, key, period, missing, facts.last)

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
        commitment = self._pricing.commitment_for(price.lessor, sku, money.quantity)
        return (money, None) if commitment is None else (within_commitment(money, commitment), commitment)

    def _usage(
        self,
        index: MonthIndex,
        row: ArchivedRow,
        then: _Then,
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
        price = self._pricing.price(facts, None, start[:10])
        line = self._of_mac(index, ChargeKind.IDLE, facts, start, text_of(day.end), day.milliseconds)
        money = time_cost(price, day.milliseconds, idle=True)
        return replace(line, time_class=ChargeKind.IDLE.value, money=money, note=price.note), price

    def _estimated(self, index: MonthIndex, settlements: Settlements, facts: MacFacts | None) -> Iterator[Charge]:
        for (shard_uid, attempt), work in sorted(settlements.items()):
            if work.estimated_milliseconds > 0:
                owner, start, end = work.owner, self._start_text, self._end_text
                line = self._of_mac(index, ChargeKind.ESTIMATED, facts, start, end, work.estimated_milliseconds)
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

    def _missing(self, index: MonthIndex, start: int, period: Reached, money: Money, facts: MacFacts | None) -> Charge:
        line = self._of_mac(index, ChargeKind.MINIMUM, facts, period.start, period.end, 0)
        per = "month" if start == self._start and period.end == self._end_text else "day"
        return replace(line, lessor=period.lessor.name, money=money, note=f"missing to the minimum of a {per}")

    def _of_mac(
        self, index: MonthIndex, kind: ChargeKind, facts: MacFacts | None, start: str, end: str, milliseconds: int
    ) -> Charge:
        line = Charge(kind, False, index.mac, "", start, end, milliseconds, "", "")
        if facts is None:
            return line
        return replace(
            line,
            hardware_id=facts.hardware_id,
            lessor=facts.lessor or "",
            lessor_billing_key=facts.billing_key or "",
            sku=facts.sku or "",
            machine=_machine(facts),
        )

    def _of_lessor(self, kind: ChargeKind, lessor: Lessor, money: Money, note: str) -> Charge:
        line = Charge(kind, False, "", "", self._start_text, self._end_text, 0, "", "")
        return replace(line, lessor=lessor.name, money=money, note=note)

    def _commitment(self, found: OpenCommitment) -> Iterator[Charge]:
        lessor, entry = found.lessor, found.commitment
        whole = cost(lessor, entry.hours_per_month, entry.hourly, entry.hourly)
        bought = self._of_lessor(ChargeKind.COMMITMENT, lessor, replace(whole, effective_cost=ZERO), "commitment")
        bought = replace(bought, sku=entry.sku or "", commitment=found.name)
        yield replace(bought, commitment_status=CommitmentStatus.PURCHASED)
        if found.left_hours > ZERO:
            unused = cost(lessor, found.left_hours, entry.hourly, entry.hourly)
            money = replace(unused, billed_cost=ZERO, effective_cost=found.left_cost)
            yield replace(bought, money=money, commitment_status=CommitmentStatus.UNUSED, note="commitment not used")

    def _team(self, billing_key: str, namespace: str) -> str:
        if self._book is None:
            return ""
        key = (billing_key, namespace)
        found = self._teams.get(key)
        if found is None:
            found = self._teams[key] = self._book.team(billing_key, namespace)
        return found


@dataclass(slots=True)
class _Then:
    """What lines say of a Mac at a moment."""

    facts: MacFacts | None
    lessor: str = ""
    billing_key: str = ""
    sku: str = ""
    machine: str = ""

    @classmethod
    def of(cls, facts: MacFacts) -> _Then:
        return cls(facts, facts.lessor or "", facts.billing_key or "", facts.sku or "", _machine(facts))


class _FactsInTime:
    """What was true of a Mac at a moment: the last facts before it, of the machine that signed."""

    def __init__(self, facts: Sequence[MacFacts]) -> None:
        ordered = sorted(facts, key=lambda fact: milliseconds_of(fact.since))
        self.last = ordered[-1] if ordered else None
        self._else = _Then(None) if self.last is None else _Then.of(self.last)
        self._by_hardware: dict[str, tuple[list[int], list[_Then]]] = {}
        for fact in ordered:
            starts, found = self._by_hardware.setdefault(fact.hardware_id, ([], []))
            starts.append(milliseconds_of(fact.since))
            found.append(_Then.of(fact))

    def at(self, moment: int, hardware_id: str) -> _Then:
        """A row from before the first facts has those: its Mac's clock was wrong."""
        of_machine = self._by_hardware.get(hardware_id)
        if of_machine is None:
            return self._else
        starts, found = of_machine
        return found[max(0, bisect_right(starts, moment) - 1)]


class _Minimums:
    """What the lines of a Mac came to, in each period for which their lessor has a minimum."""

    def __init__(self) -> None:
        self._reached: dict[tuple[int, str], Reached] = {}

    def used(self, lessor: Lessor, rate: Rate, money: Money, start: int, month: int) -> None:
        self._add(lessor, rate, money, start, month, opens=True)

    def idled(self, lessor: Lessor, rate: Rate, money: Money, start: int, month: int) -> None:
        """An idle day has no minimum; a month has."""
        self._add(lessor, rate, money, start, month, opens=False)

    def by_time(self) -> Iterator[tuple[int, Reached]]:
        for start, lessor in sorted(self._reached):
            yield start, self._reached[start, lessor]

    def _add(self, lessor: Lessor, rate: Rate, money: Money, start: int, month: int, *, opens: bool) -> None:
        if lessor.minimum_charge is None or lessor.minimum_charge.per is MinimumPeriod.ROW:
            return
        if lessor.minimum_charge.per is MinimumPeriod.DAY:
            first = start - start % DAY_MILLISECONDS
            last = first + DAY_MILLISECONDS
        else:
            first, opens = month, True
            last = month_bounds(text_of(month)[:7])[1]
        reached = self._reached.get((first, lessor.name))
        if reached is None:
            if not opens:
                return
            reached = self._reached[first, lessor.name] = Reached(lessor, rate, text_of(first), text_of(last))
        reached.add(money)


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


def _machine(facts: MacFacts) -> str:
    memory = f"{facts.memory_bytes // GIBIBYTE} GiB" if facts.memory_bytes else ""
    return ", ".join(part for part in (facts.chip, memory) if part)
