"""Lines of a bill as a FOCUS dataset, 1.2 or 1.4. Pure.

FOCUS, the FinOps Open Cost and Usage Specification, names and defines the columns without `x_`:
FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, in 1.2 specification/columns (tag v1.2), in 1.4
specification/datasets/cost_and_usage (tag v1.4). Ours begin with `x_` and come last, as it asks.

FOCUS times have whole seconds: the charge period is the smallest that holds the line, x_WallStart and x_WallEnd are
exact. An hour has no exact decimal in milliseconds: PricingQuantity has twelve digits, ConsumedQuantity and
x_MachineSeconds are exact. InvoiceId names the lessor's bill of the month, provisional until the lessor sends one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from voxfleet_billing.charge import Charge, ChargeKind, CommitmentStatus, Money
from voxfleet_billing.exports.csv_text import LINE_END, csv_line, needs_quotes, no_formula, quoted
from voxfleet_billing.instants import SECOND_MILLISECONDS, milliseconds_of, month_bounds, text_of
from voxfleet_billing.money import ZERO, plain
from voxfleet_billing.price_book import Lessor, PriceBook

NOTHING = ""
"""A null of a CSV."""
KEPT_FORMS = 10_000


class FocusVersion(StrEnum):
    V1_2 = "1.2"
    V1_4 = "1.4"


class Unpriced(Exception):
    """FOCUS asks for a cost in every line; the message names the first line without one, and why it has none."""


@dataclass(frozen=True, slots=True)
class _Bill:
    month: str
    start: str
    end: str
    price_book_digest: str
    lessors: Mapping[str, Lessor]


@dataclass(slots=True)
class _Line:
    """A charge with what FOCUS asks of it beyond its fields."""

    charge: Charge
    money: Money
    lessor: Lessor
    bill: _Bill
    category: str
    priced: bool
    """Whether unit price, quantity and SKU are part of it."""


Value = Callable[[_Line], str]


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    value: Value | None
    """What many lines have alike, which is rendered once; None: it varies, and `_varying` has it."""
    versions: frozenset[FocusVersion] = frozenset(FocusVersion)


_CATEGORIES = {
    ChargeKind.USAGE: "Usage",
    ChargeKind.IDLE: "Usage",
    ChargeKind.ESTIMATED: "Adjustment",
    ChargeKind.MINIMUM: "Adjustment",
    ChargeKind.FIXED: "Adjustment",  # of a purchase the validator asks that it covers later charges
    ChargeKind.ROUNDING: "Adjustment",
}
_CONSUMING = frozenset({ChargeKind.USAGE, ChargeKind.IDLE})
_FREQUENCIES = {"Usage": "Usage-Based", "Purchase": "Recurring", "Adjustment": "Recurring"}
_METERS = {ChargeKind.IDLE: "Idle Mac Hours", ChargeKind.FIXED: "Monthly Fee", ChargeKind.COMMITMENT: "Committed Hours"}


def focus_header(version: FocusVersion) -> str:
    return csv_line(column.name for column in columns(version))


def focus_lines(version: FocusVersion, month: str, charges: Iterable[Charge], book: PriceBook) -> Iterator[str]:
    """The CSV's lines below the header, each with its end. Raises Unpriced, and what `charges` raises."""
    start, end = (text_of(moment)[:19] + "Z" for moment in month_bounds(month))
    bill = _Bill(month, start, end, book.digest, {lessor.name: lessor for lessor in book.lessors})
    shown = columns(version)
    forms: dict[tuple[object, ...], str] = {}
    for charge in charges:
        line = _line(charge, bill)
        key = _common(charge, line.money)
        form = forms.get(key)
        if form is None:
            if len(forms) >= KEPT_FORMS:
                forms.clear()
            form = forms[key] = _form(shown, line)
        yield form % _varying(line)


def _common(charge: Charge, money: Money) -> tuple[object, ...]:
    """All that the columns follow from which do not vary."""
    return (
        charge.kind,
        charge.correction,
        charge.mac,
        charge.hardware_id,
        charge.time_class,
        charge.price_class,
        charge.lane,
        charge.activity,
        charge.owner_kind,
        charge.namespace,
        charge.attempt,
        charge.billing_key,
        charge.team,
        charge.lessor,
        charge.lessor_billing_key,
        charge.sku,
        charge.machine,
        charge.commitment,
        charge.commitment_status,
        charge.note,
        money.currency,
        money.list_unit_price,
        money.contracted_unit_price,
        money.unit,
    )


def _form(shown: Sequence[Column], line: _Line) -> str:
    """A line of the CSV with %s where a column varies."""
    cells = [
        "%s" if column.value is None else quoted(no_formula(column.value(line))).replace("%", "%%") for column in shown
    ]
    return ",".join(cells) + LINE_END


VARYING = (
    *("BilledCost", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountQuantity"),
    *("ConsumedQuantity", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity"),
    *("x_OwnerName", "x_OwnerId", "x_ShardId", "x_MachineSeconds", "x_EstimatedSeconds", "x_WallStart", "x_WallEnd"),
    *("x_PausedSeconds", "x_AudioSeconds", "x_Clips", "x_RowId", "x_RowSha256", "x_RowSignature"),
)


def _varying(line: _Line) -> tuple[str, ...]:
    """The cells of VARYING, in its order, with quotes where they need them."""
    charge, money = line.charge, line.money
    billed, quantity = _decimal(money.billed_cost), _decimal(money.quantity)
    seconds = _seconds(charge.milliseconds)
    consumed = seconds if charge.kind in _CONSUMING else NOTHING
    description = _description(charge)
    cells = (
        billed,
        description,
        _period_end(charge.end),
        charge.start[:19] + "Z",
        quantity if charge.commitment else NOTHING,
        consumed,
        billed if money.contracted_cost is money.billed_cost else _decimal(money.contracted_cost),
        billed if money.effective_cost is money.billed_cost else _decimal(money.effective_cost),
        _decimal(money.list_cost),
        quantity if line.priced else NOTHING,
        no_formula(charge.owner_name),
        charge.owner_uid,
        charge.shard_uid,
        consumed,
        seconds if charge.kind is ChargeKind.ESTIMATED else NOTHING,
        charge.start,
        charge.end,
        _seconds(charge.paused_milliseconds),
        _seconds(charge.audio_milliseconds),
        str(charge.clips),
        no_formula(charge.row_name),
        charge.row_hash,
        charge.signature,
    )
    texts = (description, charge.owner_name, charge.owner_uid, charge.shard_uid, charge.start, charge.end, *cells[-3:])
    return tuple(map(quoted, cells)) if needs_quotes("".join(texts)) else cells


def columns(version: FocusVersion) -> list[Column]:
    return [column for column in _COLUMNS if version in column.versions]


def _line(charge: Charge, bill: _Bill) -> _Line:
    lessor, money = bill.lessors.get(charge.lessor), charge.money
    if lessor is None or (money is None and charge.kind is not ChargeKind.ESTIMATED):
        what = charge.row_name or f"{charge.kind} time of Mac {charge.mac}"
        why = charge.note or "the Mac has no lessor that the price book knows"
        raise Unpriced(f"FOCUS needs a cost in every line, and {what} (Mac {charge.mac}) has none: {why}")
    category = _category(charge)
    if money is None:
        money = Money(lessor.currency, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
    return _Line(charge, money, lessor, bill, category, category != "Adjustment")


def _category(charge: Charge) -> str:
    if charge.kind is ChargeKind.COMMITMENT:
        return "Purchase" if charge.commitment_status == CommitmentStatus.PURCHASED else "Usage"
    return _CATEGORIES[charge.kind]


def _constant(text: str) -> Value:
    return lambda _: text


def _period_end(end: str) -> str:
    """The first whole second that is not before the end."""
    if end[19:] in (".000Z", "Z"):
        return end[:19] + "Z"
    second = int(end[17:19])
    if second < 59:
        return f"{end[:17]}{second + 1:02d}Z"
    return text_of(milliseconds_of(end) // SECOND_MILLISECONDS * SECOND_MILLISECONDS + SECOND_MILLISECONDS)[:19] + "Z"


def _description(charge: Charge) -> str:
    if charge.kind is ChargeKind.USAGE:
        return (
            f"{charge.activity} of {charge.namespace}/{charge.owner_name} on {charge.mac} {charge.lane}:"
            f" {charge.time_class}"
        )
    if charge.kind is ChargeKind.IDLE:
        return f"{charge.mac} was rented and idle"
    return charge.note


def _unit_price(pick: Callable[[Money], Decimal]) -> Value:
    return lambda line: _decimal(pick(line.money)) if line.priced else NOTHING


def _commitment(value: Callable[[Charge], str]) -> Value:
    return lambda line: value(line.charge) if line.charge.commitment else NOTHING


def _commitment_status(charge: Charge) -> str:
    return NOTHING if charge.commitment_status == CommitmentStatus.PURCHASED else charge.commitment_status


def _pricing_category(line: _Line) -> str:
    if not line.priced:
        return NOTHING
    return "Committed" if _commitment_status(line.charge) else "Standard"


def _resource(of_mac: Callable[[Charge], str], of_commitment: Callable[[Charge], str]) -> Value:
    def value(line: _Line) -> str:
        charge = line.charge
        if charge.kind is ChargeKind.COMMITMENT:
            return of_commitment(charge)
        return of_mac(charge) if charge.hardware_id else NOTHING

    return value


def _sku(line: _Line) -> str:
    return (line.charge.sku or "any") if line.priced else NOTHING


def _sku_price(line: _Line) -> str:
    charge = line.charge
    if not line.priced:
        return NOTHING
    kind = charge.price_class or "any" if charge.kind is ChargeKind.USAGE else charge.kind.value
    return f"{charge.lessor}/{charge.sku or 'any'}/{kind}"


def _sku_details(line: _Line) -> str:
    charge = line.charge
    if not line.priced:
        return NOTHING
    return _json("x_PriceClass", charge.price_class or "any" if charge.kind is ChargeKind.USAGE else charge.kind.value)


def _tags(line: _Line) -> str:
    return _json("billingKey", line.charge.billing_key, "team", line.charge.team)


@lru_cache(maxsize=4096)
def _json(*pairs: str) -> str:
    """Of names and values in turn; empty when no value is there."""
    found = {name: value for name, value in zip(pairs[::2], pairs[1::2], strict=True) if value}
    return json.dumps(found, separators=(",", ":")) if found else NOTHING


def _decimal(value: Decimal) -> str:
    """With a point always: a column of whole numbers would be read as one of integers."""
    text = str(value)
    if "E" in text or "." not in text:
        text = plain(value)
        return text if "." in text else f"{text}.0"
    text = text.rstrip("0")
    return f"{text}0" if text[-1] == "." else text


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // SECOND_MILLISECONDS}.{milliseconds % SECOND_MILLISECONDS:03d}"


_ONLY_1_2 = frozenset({FocusVersion.V1_2})
_ONLY_1_4 = frozenset({FocusVersion.V1_4})

_COLUMNS: tuple[Column, ...] = (
    Column("BilledCost", None),
    Column("BillingAccountId", lambda line: line.lessor.account),
    Column("BillingAccountName", lambda line: line.lessor.account_name or line.lessor.account),
    Column("BillingCurrency", lambda line: line.money.currency),
    Column("BillingPeriodEnd", lambda line: line.bill.end),
    Column("BillingPeriodStart", lambda line: line.bill.start),
    Column("ChargeCategory", lambda line: line.category),
    Column("ChargeClass", lambda line: "Correction" if line.charge.correction else NOTHING),
    Column("ChargeDescription", None),
    Column("ChargeFrequency", lambda line: _FREQUENCIES[line.category]),
    Column("ChargePeriodEnd", None),
    Column("ChargePeriodStart", None),
    Column("CommitmentDiscountCategory", _commitment(lambda _: "Usage")),
    Column("CommitmentDiscountId", _commitment(lambda charge: charge.commitment)),
    Column("CommitmentDiscountName", _commitment(lambda charge: charge.commitment)),
    Column("CommitmentDiscountQuantity", None),
    Column("CommitmentDiscountStatus", _commitment(_commitment_status)),
    Column("CommitmentDiscountType", _commitment(lambda _: "Hours a month")),
    Column("CommitmentDiscountUnit", _commitment(lambda _: "Hours")),
    Column("ConsumedQuantity", None),
    Column("ConsumedUnit", lambda line: "Seconds" if line.charge.kind in _CONSUMING else NOTHING),
    Column("ContractedCost", None),
    Column("ContractedUnitPrice", _unit_price(lambda money: money.contracted_unit_price)),
    Column("EffectiveCost", None),
    Column(
        "HostProviderName", lambda line: line.lessor.host_provider or line.lessor.invoice_issuer, versions=_ONLY_1_4
    ),
    Column("InvoiceId", lambda line: f"{line.charge.lessor}-{line.bill.month}"),
    Column("InvoiceIssuerName", lambda line: line.lessor.invoice_issuer),
    Column("ListCost", None),
    Column("ListUnitPrice", _unit_price(lambda money: money.list_unit_price)),
    Column("PricingCategory", _pricing_category),
    Column("PricingQuantity", None),
    Column("PricingUnit", lambda line: line.money.unit if line.priced else NOTHING),
    Column("ProviderName", lambda line: line.lessor.invoice_issuer, versions=_ONLY_1_2),
    Column("PublisherName", lambda line: line.lessor.invoice_issuer, versions=_ONLY_1_2),
    Column("ResourceId", _resource(lambda charge: charge.hardware_id, lambda charge: charge.commitment)),
    Column("ResourceName", _resource(lambda charge: charge.mac, lambda charge: charge.commitment)),
    Column("ResourceType", _resource(lambda _: "Mac", lambda _: "Commitment")),
    Column("ServiceCategory", _constant("Compute")),
    Column("ServiceName", _constant("Mac lane time")),
    Column("ServiceProviderName", lambda line: line.lessor.invoice_issuer, versions=_ONLY_1_4),
    Column("ServiceSubcategory", _constant("Other (Compute)")),
    Column("SkuId", _sku),
    Column("SkuMeter", lambda line: _METERS.get(line.charge.kind, "Lane Hours") if line.priced else NOTHING),
    Column("SkuPriceDetails", _sku_details),
    Column("SkuPriceId", _sku_price),
    Column("SubAccountId", lambda line: line.charge.namespace),
    Column("SubAccountName", lambda line: line.charge.namespace),
    Column("Tags", _tags),
    Column("x_Kind", lambda line: line.charge.kind.value),
    Column("x_TimeClass", lambda line: line.charge.time_class),
    Column("x_PriceClass", lambda line: line.charge.price_class),
    Column("x_Activity", lambda line: line.charge.activity),
    Column("x_Lane", lambda line: line.charge.lane),
    Column("x_OwnerKind", lambda line: line.charge.owner_kind),
    Column("x_OwnerName", None),
    Column("x_OwnerId", None),
    Column("x_ShardId", None),
    Column("x_Attempt", lambda line: str(line.charge.attempt or NOTHING)),
    Column("x_BillingKey", lambda line: line.charge.billing_key),
    Column("x_Team", lambda line: line.charge.team),
    Column("x_LessorName", lambda line: line.charge.lessor),
    Column("x_LessorBillingKey", lambda line: line.charge.lessor_billing_key),
    Column("x_Machine", lambda line: line.charge.machine),
    Column("x_MachineSeconds", None),
    Column("x_EstimatedSeconds", None),
    Column("x_WallStart", None),
    Column("x_WallEnd", None),
    Column("x_PausedSeconds", None),
    Column("x_AudioSeconds", None),
    Column("x_Clips", None),
    Column("x_Note", lambda line: line.charge.note),
    Column("x_RowId", None),
    Column("x_RowSha256", None),
    Column("x_RowSignature", None),
    Column("x_PriceBookDigest", lambda line: line.bill.price_book_digest),
)
