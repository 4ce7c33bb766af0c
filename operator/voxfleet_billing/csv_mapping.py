"""Reads bill lines from a CSV whose columns a mapping names, a lessor's or ours. Pure.

columns: {row: Reference, hours: Stunden, cost: Betrag, currency: Waehrung}
key: [row]
delimiter: ";"
decimalComma: true
tolerance: {milliseconds: 1000, cost: "0.01"}
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from voxfleet_api.base import SpecModel
from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.compared_line import ComparedLine, Tolerance
from voxfleet_billing.exports.csv_text import without_apostrophe
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

_SEPARATOR = " "
_OF_A_SKU = (ChargeKind.USAGE, ChargeKind.IDLE)
_MILLISECONDS = {"milliseconds": Decimal(1), "seconds": Decimal(1_000), "hours": Decimal(3_600_000)}


_MAX_TIME = Decimal(10**9)
"""Hours, seconds or milliseconds. A few letters such as 1E999999999 would be a number of a billion digits."""


class MappingError(ValueError):
    """A mapping, or a line of a CSV, that cannot be used; the message names the field or line."""


class KeyField(StrEnum):
    """What a line can be told apart by, on both sides."""

    ROW = "row"
    MAC = "mac"
    HARDWARE_ID = "hardwareId"
    DAY = "day"
    START = "start"
    LANE = "lane"
    SKU = "sku"
    NAMESPACE = "namespace"
    JOB = "job"
    BILLING_KEY = "billingKey"
    LESSOR_BILLING_KEY = "lessorBillingKey"
    LESSOR = "lessor"
    KIND = "kind"


class ToleranceSpec(SpecModel):
    milliseconds: Annotated[int, Field(ge=0)] = 0
    cost: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")] = "0"


Column = Annotated[str, Field(min_length=1, max_length=128)]


class Columns(SpecModel):
    """Their names, by ours.

    `start` gives the day where there is no column of its own. Where `kind` has one, lines of other kinds are left out.
    """

    row: Column | None = None
    mac: Column | None = None
    hardware_id: Column | None = None
    day: Column | None = None
    start: Column | None = None
    lane: Column | None = None
    sku: Column | None = None
    namespace: Column | None = None
    job: Column | None = None
    billing_key: Column | None = None
    lessor_billing_key: Column | None = None
    lessor: Column | None = None
    kind: Column | None = None
    milliseconds: Column | None = None
    seconds: Column | None = None
    hours: Column | None = None
    cost: Column | None = None
    currency: Column | None = None


class CsvMapping(SpecModel):
    columns: Columns
    key: Annotated[tuple[KeyField, ...], Field(min_length=1)] = (KeyField.ROW,)
    kinds: Annotated[
        tuple[ChargeKind, ...], Field(min_length=1, description="Which lines of ours the file is about.")
    ] = (ChargeKind.USAGE,)
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal_comma: bool = False
    time_format: Annotated[
        str | None, Field(max_length=64, description="Of start and day, as strptime takes it; absent: RFC 3339.")
    ] = None
    tolerance: ToleranceSpec = ToleranceSpec()

    @model_validator(mode="after")
    def _names_what_it_compares(self) -> Self:
        named = self.columns.dump()
        for field in self.key:
            if field not in named and not (field is KeyField.DAY and self.columns.start):
                raise ValueError(f"key names {field}, and columns has none for it")
        units = [unit for unit in _MILLISECONDS if unit in named]
        if len(units) > 1:
            raise ValueError(f"columns names {' and '.join(units)}; write one of them")
        if not units and self.columns.cost is None:
            raise ValueError("columns names neither a time (milliseconds, seconds or hours) nor a cost")
        return self

    @property
    def once(self) -> bool:
        """Whether each key stands in one line only."""
        return KeyField.ROW in self.key

    @property
    def compares_sku(self) -> bool:
        """Lines that are added up may be of several."""
        return self.once and self.columns.sku is not None and KeyField.SKU not in self.key

    @property
    def unit(self) -> str | None:
        """Of the time; None without one."""
        return next((unit for unit in _MILLISECONDS if unit in self.columns.dump()), None)

    def limits(self) -> Tolerance:
        return Tolerance(self.tolerance.milliseconds, Decimal(self.tolerance.cost))


FOCUS_MAPPING = CsvMapping(
    columns=Columns(
        row="x_RowId",
        mac="ResourceName",
        start="x_WallStart",
        sku="SkuId",
        namespace="SubAccountId",
        billing_key="x_BillingKey",
        lessor="x_LessorName",
        kind="x_Kind",
        seconds="x_MachineSeconds",
        cost="BilledCost",
        currency="BillingCurrency",
    ),
    key=(
        *(KeyField.ROW, KeyField.KIND, KeyField.MAC, KeyField.START, KeyField.NAMESPACE, KeyField.BILLING_KEY),
        KeyField.LESSOR,
    ),
    kinds=tuple(kind for kind in ChargeKind if kind not in (ChargeKind.ESTIMATED, ChargeKind.COMMITMENT)),
)
"""Of our own export in FOCUS, 1.2 and 1.4 alike."""


def load_mapping(text: str) -> CsvMapping:
    """Raises MappingError naming each field."""
    try:
        content = yaml.safe_load(text)
    except YAML_ERRORS as error:
        raise MappingError(f"the mapping is no YAML: {yaml_problem(error)}") from error
    try:
        return CsvMapping.load(content)
    except ValidationError as error:
        details = error.errors()
        told = (f"{'.'.join(map(str, item['loc'])) or 'the mapping'}: {item['msg']}" for item in details)
        raise MappingError("; ".join(told)) from error


def their_lines(content: Iterable[str], mapping: CsvMapping) -> Iterator[ComparedLine]:
    """Of a CSV with a header. Raises MappingError naming the line."""
    rows = csv.reader(content, delimiter=mapping.delimiter, strict=True)
    try:
        read = _TheirLine(next(rows, []), mapping)
        for cells in rows:
            line = read(cells, rows.line_num)
            if line is not None:
                yield line
    except csv.Error as error:
        raise MappingError(f"line {rows.line_num}: {error}") from error


def our_lines(charges: Iterable[Charge], mapping: CsvMapping) -> Iterator[ComparedLine]:
    """The lines of ours that the file is about, in the same terms."""
    kinds, key = frozenset(mapping.kinds), [_OURS[field] for field in mapping.key]
    columns = mapping.columns
    with_time, with_cost = mapping.unit is not None, columns.cost is not None
    with_currency, with_sku = columns.currency is not None, mapping.compares_sku
    for charge in charges:
        if charge.kind not in kinds:
            continue
        money = charge.money if with_cost else None
        yield ComparedLine(
            _SEPARATOR.join([value(charge) for value in key]),
            charge.milliseconds if with_time else None,
            None if money is None else money.billed_cost,
            money.currency if money is not None and with_currency else "",
            sku=charge.sku if with_sku and charge.sku and charge.kind in _OF_A_SKU else None,
        )


class _TheirLine:
    """Reads a line of a CSV with this header."""

    def __init__(self, header: Sequence[str], mapping: CsvMapping) -> None:
        columns: Mapping[str, str] = mapping.columns.dump()
        missing = [column for column in columns.values() if column not in header]
        if missing:
            raise MappingError(f"the CSV has no column {', '.join(missing)}; its header is {', '.join(header)}")
        self._mapping, self._kinds, self._width = mapping, frozenset(map(str, mapping.kinds)), len(header)
        place = {field: header.index(column) for field, column in columns.items()}
        self._kind, self._sku = place.get("kind"), place.get("sku") if mapping.compares_sku else None
        self._cost, self._currency = place.get("cost"), place.get("currency")
        self._time = None if mapping.unit is None else place[mapping.unit]
        self._factor = _MILLISECONDS.get(mapping.unit or "", Decimal(0))
        self._day = place.get("day", place.get("start", 0))
        self._key = [None if field is KeyField.DAY else place[field] for field in mapping.key]

    def __call__(self, cells: list[str], number: int) -> ComparedLine | None:
        """None for one of another kind, or without cells. Raises MappingError."""
        if not cells or (self._kind is not None and self._cell(cells, self._kind) not in self._kinds):
            return None
        try:
            return ComparedLine(
                _SEPARATOR.join([self._key_part(cells, place) for place in self._key]),
                None if self._time is None else self._milliseconds(self._cell(cells, self._time)),
                None if self._cost is None else _number(self._cell(cells, self._cost), self._mapping),
                "" if self._currency is None else self._cell(cells, self._currency),
                number,
                None if self._sku is None else self._cell(cells, self._sku),
            )
        except (ValueError, InvalidOperation) as error:
            raise MappingError(f"line {number}: {error}") from error

    def _cell(self, cells: list[str], place: int) -> str:
        return without_apostrophe(cells[place].strip()) if place < len(cells) else ""

    def _key_part(self, cells: list[str], place: int | None) -> str:
        return _day(self._cell(cells, self._day), self._mapping) if place is None else self._cell(cells, place)

    def _milliseconds(self, text: str) -> int:
        found = _number(text or "0", self._mapping)
        if abs(found) > _MAX_TIME:
            raise ValueError(f"{text!r} is more time than a line can have")
        return int((found * self._factor).to_integral_value())


def _day(text: str, mapping: CsvMapping) -> str:
    if mapping.time_format is not None:
        return datetime.strptime(text, mapping.time_format).replace(tzinfo=UTC).date().isoformat()
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date().isoformat()


_OURS: Mapping[KeyField, Callable[[Charge], str]] = {
    KeyField.ROW: attrgetter("row_name"),
    KeyField.MAC: attrgetter("mac"),
    KeyField.HARDWARE_ID: attrgetter("hardware_id"),
    KeyField.DAY: lambda charge: charge.start[:10],
    KeyField.START: attrgetter("start"),
    KeyField.LANE: attrgetter("lane"),
    KeyField.SKU: attrgetter("sku"),
    KeyField.NAMESPACE: attrgetter("namespace"),
    KeyField.JOB: attrgetter("owner_name"),
    KeyField.BILLING_KEY: attrgetter("billing_key"),
    KeyField.LESSOR_BILLING_KEY: attrgetter("lessor_billing_key"),
    KeyField.LESSOR: attrgetter("lessor"),
    KeyField.KIND: lambda charge: charge.kind.value,
}


def _number(text: str, mapping: CsvMapping) -> Decimal:
    plain = text.replace(".", "").replace(",", ".") if mapping.decimal_comma else text
    try:
        found = Decimal(plain)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not found.is_finite():
        raise ValueError(f"{text!r} is no number")
    return found
