"""The price book: what lessors charge, which teams there are, and what may be used. Pure.

A YAML file. Amounts are decimals in quotes, because YAML would make floats of them. Prices are per lane-hour, and per
hour of an idle Mac. Dates are days in UTC; `until` is exclusive.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from voxfleet_api.base import SpecModel
from voxfleet_api.digest import digest_of
from voxfleet_billing.money import RoundingMode
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class PriceBookError(ValueError):
    """A price book that cannot be used; the message names each field and says what to write."""


def _decimal(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str):
        raise ValueError(f'write the decimal in quotes, such as "{value}": YAML makes a float of it otherwise')
    if not _DECIMAL.fullmatch(value):
        raise ValueError(f'{value!r} is no amount; write digits with at most 6 decimals, such as "2.40"')
    return Decimal(value)


def _hours(value: object) -> object:
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else _decimal(value)


def _day(value: object) -> object:
    if isinstance(value, str) and _DAY.fullmatch(value):
        return date.fromisoformat(value)  # ValueError names the day
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError(f"{value!r} is no day; write it as 2026-11-01")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as Europe
        raise ValueError(f"the time zone database has no {value}; write a name such as Europe/Berlin") from error
    return value


_AS_TEXT = PlainSerializer(lambda value: f"{value:f}", return_type=str)
Price = Annotated[Decimal, BeforeValidator(_decimal), _AS_TEXT]
Hours = Annotated[Decimal, BeforeValidator(_hours), _AS_TEXT, Field(gt=0)]
Day = Annotated[date, BeforeValidator(_day)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""
Label = Annotated[str, Field(min_length=1, max_length=63)]
First = Annotated[Day, Field(alias="from")]


class _Effective(Protocol):
    @property
    def first(self) -> date: ...
    @property
    def until(self) -> date | None: ...


E = TypeVar("E", bound=_Effective)


class MinimumPeriod(StrEnum):
    MONTH = "Month"
    DAY = "Day"
    ROW = "Row"


class MinimumCharge(SpecModel):
    """What a Mac costs at least: in a month, on a UTC day on which it was used, or for a row."""

    per: MinimumPeriod
    amount: Price | None = None
    hours: Annotated[Hours | None, Field(description="Charged at the rate of the first line of the period.")] = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.amount is None) == (self.hours is None):
            raise ValueError("write either amount or hours")
        return self


class RoundedAt(StrEnum):
    LINE = "Line"
    INVOICE = "Invoice"


class Rounding(SpecModel):
    unit: Annotated[Price, Field(gt=0)]
    mode: RoundingMode
    at: RoundedAt


class Rate(SpecModel):
    """The prices of a SKU from one day on."""

    first: First
    until: Day | None = None
    list_hourly: Price
    contracted_hourly: Annotated[Price | None, Field(description="Absent: the list price.")] = None
    idle_hourly: Annotated[Price, Field(description="Of a Mac that is rented and does nothing.")] = Decimal(0)

    @property
    def hourly(self) -> Decimal:
        return self.list_hourly if self.contracted_hourly is None else self.contracted_hourly


class Sku(SpecModel):
    name: Label
    price_class: Annotated[Label | None, Field(description="Such as Offline; absent: what no other entry names.")] = (
        None
    )
    rates: Annotated[tuple[Rate, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_one_rate_a_day(self) -> Self:
        _refuse_overlaps(f"rates of SKU {self.name}", self.rates)
        for earlier, later in _pairs(self.rates):
            if earlier.until is not None and earlier.until < later.first:
                raise ValueError(f"rates of SKU {self.name}: none applies from {earlier.until} to {later.first}")
        return self

    def rate_on(self, day: date) -> Rate | None:
        return next((rate for rate in self.rates if _applies(rate, day)), None)


class Commitment(SpecModel):
    """Lane-hours of each month that are paid whether they are used or not."""

    sku: Annotated[Label | None, Field(description="Absent: any SKU of the lessor.")] = None
    hours_per_month: Hours
    hourly: Price
    first: First
    until: Day | None = None

    @model_validator(mode="after")
    def _covers_whole_months(self) -> Self:
        return _of_whole_months(self, "a commitment")

    def name_at(self, lessor: str) -> str:
        """The only one of that name in a price book."""
        return f"{lessor}/{self.sku or 'any'}/{self.first}"


class FeeShare(StrEnum):
    BY_USAGE = "ByUsage"


class MonthlyFee(SpecModel):
    """Paid each month, and shared among the namespaces and cost centres by their lane time."""

    name: Label
    amount: Price
    first: First
    until: Day | None = None
    share: FeeShare = FeeShare.BY_USAGE

    @model_validator(mode="after")
    def _covers_whole_months(self) -> Self:
        return _of_whole_months(self, f"fee {self.name}")


class Lessor(SpecModel):
    """Whom Macs are rented from, or the own company for Macs that it owns."""

    name: Label
    account: Annotated[Label, Field(description="The account that it bills.")]
    account_name: Annotated[str | None, Field(max_length=128, description="Absent: account.")] = None
    invoice_issuer: Annotated[str, Field(min_length=1, max_length=128)]
    host_provider: Annotated[
        str | None, Field(max_length=128, description="Whose data centre it is; absent: invoiceIssuer.")
    ] = None
    currency: Currency
    rounding: Rounding
    minimum_charge: MinimumCharge | None = None
    skus: Annotated[tuple[Sku, ...], Field(min_length=1)]
    commitments: tuple[Commitment, ...] = ()
    monthly_fees: tuple[MonthlyFee, ...] = ()

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        _refuse_twice("SKU", ((sku.name, sku.price_class) for sku in self.skus))
        names = sorted({sku.name for sku in self.skus})
        for commitment in self.commitments:
            if commitment.sku is not None and commitment.sku not in names:
                raise ValueError(
                    f"a commitment is to unknown SKU {commitment.sku}; there are {', '.join(sorted(names))}"
                )
        for sku in dict.fromkeys(commitment.sku for commitment in self.commitments):
            same = tuple(commitment for commitment in self.commitments if commitment.sku == sku)
            _refuse_overlaps(f"commitments to SKU {sku or '(any)'}", same)
        for name in dict.fromkeys(fee.name for fee in self.monthly_fees):
            _refuse_overlaps(f"fee {name}", tuple(fee for fee in self.monthly_fees if fee.name == name))
        return self

    def sku_for(self, name: str | None, price_class: str | None) -> Sku | None:
        named = [sku for sku in self.skus if sku.name == name]
        return next(
            (sku for wanted in (price_class, None) for sku in named if sku.price_class == wanted),
            None,
        )


class Team(SpecModel):
    """A charge belongs to the first team that names its billing key or its namespace."""

    name: Label
    billing_keys: tuple[Label, ...] = ()
    namespaces: tuple[Label, ...] = ()


class BudgetPolicy(StrEnum):
    """What happens at 100 %."""

    WARN = "Warn"
    HOLD = "Hold"  # new shards wait


class Budget(SpecModel):
    billing_key: Label | None = None
    namespace: Label | None = None
    machine_hours_per_month: Hours
    thresholds_percent: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)
    ] = (50, 80, 100)
    policy: BudgetPolicy = BudgetPolicy.WARN

    @model_validator(mode="after")
    def _is_of_one(self) -> Self:
        if (self.billing_key is None) == (self.namespace is None):
            raise ValueError("write either billingKey or namespace")
        if list(self.thresholds_percent) != sorted(set(self.thresholds_percent)):
            raise ValueError("thresholdsPercent: write each once, the smallest first")
        return self


class Night(SpecModel):
    """When a night is over, and its CSV is written."""

    time_zone: Annotated[str, Field(max_length=64), BeforeValidator(_zone)]
    closes_at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class PriceBook(SpecModel):
    lessors: tuple[Lessor, ...] = ()
    teams: tuple[Team, ...] = ()
    budgets: tuple[Budget, ...] = ()
    night: Night | None = None

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        _refuse_twice("lessor", ((lessor.name,) for lessor in self.lessors))
        _refuse_twice("team", ((team.name,) for team in self.teams))
        _refuse_twice(
            "commitment", ((entry.name_at(lessor.name),) for lessor in self.lessors for entry in lessor.commitments)
        )
        _refuse_twice("budget of", ((budget.billing_key, budget.namespace) for budget in self.budgets))
        return self

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical form. Every export cites it."""
        return digest_of(self)

    def lessor(self, name: str) -> Lessor:
        """Raises PriceBookError."""
        for lessor in self.lessors:
            if lessor.name == name:
                return lessor
        known = ", ".join(lessor.name for lessor in self.lessors) or "none"
        raise PriceBookError(f"unknown lessor {name}: the price book has {known}; add it below lessors")

    def team(self, billing_key: str, namespace: str) -> str:
        """The name of the team; empty: of none."""
        for team in self.teams:
            if (billing_key and billing_key in team.billing_keys) or (namespace and namespace in team.namespaces):
                return team.name
        return ""


def load_price_book(text: str) -> PriceBook:
    """Raises PriceBookError."""
    try:
        content = yaml.load(text, _UniqueKeys)  # noqa: S506 # it is a SafeLoader
    except YAML_ERRORS as error:
        raise PriceBookError(f"the price book is no YAML: {yaml_problem(error)}") from error
    try:
        return PriceBook.load(content)
    except ValidationError as error:
        raise PriceBookError("\n".join(_findings(error))) from error


def _findings(error: ValidationError) -> list[str]:
    """What is wrong inside a list makes pydantic find the list too short, too: that says nothing to its writer."""
    found = error.errors()
    places = [detail["loc"] for detail in found]
    return [
        _finding(detail["loc"], detail["msg"])
        for detail in found
        if not any(len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"] for place in places)
    ]


def _finding(place: Sequence[int | str], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{path or 'the price book'}: {message.removeprefix('Value error, ')}"


def _applies(entry: _Effective, day: date) -> bool:
    return entry.first <= day and (entry.until is None or day < entry.until)


def applies_in(entry: _Effective, month: str) -> bool:
    """Whether it applies in a month, such as 2026-11; for what covers whole months."""
    return _applies(entry, date.fromisoformat(f"{month}-01"))


def _pairs(entries: Sequence[_Effective]) -> Iterable[tuple[_Effective, _Effective]]:
    ordered = sorted(entries, key=lambda entry: entry.first)
    return pairwise(ordered)


def _refuse_overlaps(what: str, entries: Sequence[_Effective]) -> None:
    for entry in entries:
        if entry.until is not None and entry.until <= entry.first:
            raise ValueError(f"{what}: until {entry.until} is not after from {entry.first}")
    for earlier, later in _pairs(entries):
        if earlier.until is None or earlier.until > later.first:
            raise ValueError(
                f"{what}: the entry from {earlier.first} overlaps with the one from {later.first}; write until:"
                f" {later.first} in the earlier one"
            )


def _of_whole_months(entry: E, what: str) -> E:
    for day in (entry.first, entry.until):
        if day is not None and day.day != 1:
            raise ValueError(f"{what} covers whole months; write the first day of one instead of {day}")
    return entry


def _refuse_twice(what: str, names: Iterable[tuple[str | None, ...]]) -> None:
    seen: set[tuple[str | None, ...]] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {' '.join(part for part in name if part)} stands there twice; write it once")
        seen.add(name)


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes a key's last value when it stands there twice; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # to be refused below
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
