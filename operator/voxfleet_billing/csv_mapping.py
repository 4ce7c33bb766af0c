"""Reads bill lines from a CSV whose columns a mapping names, a lessor's or ours. Pure.

columns: {row: Reference, hours: Stunden, cost: Betrag, currency: Waehrung}
key: [row]
delimiter: ";"
decimalComma: true
tolerance: {milliseconds: 1000, cost: "0.01"}
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from voxfleet_api.base import SpecModel
from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.line_comparison import ComparedLine, Tolerance

_SEPARATOR = " "
_MILLISECONDS = {"milliseconds": Decimal(1), "seconds": Decimal(1_000), "hours": Decimal(3_600_000)}


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

    def limits(self) -> Tolerance:
        return Tolerance(self.tolerance.milliseconds, Decimal(self.tolerance.cost))


FOCUS_MAPPING = CsvMapping(
    columns=Columns(
        row="x_RowId",
        mac="ResourceName",
        start="x_WallStart",
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
        return CsvMapping.load(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise MappingError(f"the mapping is no YAML: {error}") from error
    except ValidationError as error:
        details = error.errors()
        told = (f"{'.'.join(map(str, item['loc'])) or 'the mapping'}: {item['msg']}" for item in details)
        raise MappingError("; ".join(told)) from error


def their_lines(content: Iterable[str], mapping: CsvMapping) -> Iterator[ComparedLine]:
    """Of a CSV with a header. Raises MappingError naming the line."""
    reader = csv.DictReader(content, delimiter=mapping.delimiter, strict=True)
    try:
        header = reader.fieldnames or ()
        columns: Mapping[str, str] = mapping.columns.dump()
        missing = [column for column in columns.values() if column not in header]
        if missing:
            raise MappingError(f"the CSV has no column {', '.join(missing)}; its header is {', '.join(header)}")
        kind, wanted = columns.get("kind", ""), set(mapping.kinds)
        for cells in reader:
            if not kind or cells.get(kind) in wanted:
                yield _their_line(cells, columns, mapping, reader.line_num)
    except csv.Error as error:
        raise MappingError(f"line {reader.line_num}: {error}") from error


def our_lines(charges: Iterable[Charge], mapping: CsvMapping) -> Iterator[ComparedLine]:
    """The lines of ours that the file is about, in the same terms."""
    with_time = any(unit in mapping.columns.dump() for unit in _MILLISECONDS)
    with_cost = mapping.columns.cost is not None
    for charge in charges:
        if charge.kind not in mapping.kinds:
            continue
        money = charge.money if with_cost else None
        yield ComparedLine(
            key=_SEPARATOR.join(_ours(charge, field) for field in mapping.key),
            milliseconds=charge.milliseconds if with_time else None,
            cost=None if money is None else money.billed_cost,
            currency="" if money is None or mapping.columns.currency is None else money.currency,
        )


def _their_line(
    cells: Mapping[str, str | None], columns: Mapping[str, str], mapping: CsvMapping, number: int
) -> ComparedLine:
    def text(field: str) -> str:
        return (cells.get(columns.get(field, "")) or "").strip()

    try:
        key = _SEPARATOR.join(_theirs(field, text, mapping) for field in mapping.key)
        unit = next((unit for unit in _MILLISECONDS if unit in columns), None)
        time = None
        if unit is not None:
            exact = _number(text(unit) or "0", mapping) * _MILLISECONDS[unit]
            time = int(exact.to_integral_value())
        cost = _number(text("cost"), mapping) if "cost" in columns else None
    except (ValueError, InvalidOperation) as error:
        raise MappingError(f"line {number}: {error}") from error
    return ComparedLine(key, time, cost, text("currency"), number)


def _theirs(field: KeyField, text: Callable[[str], str], mapping: CsvMapping) -> str:
    if field is not KeyField.DAY:
        return text(field)
    return _day(text("day") or text("start"), mapping)


def _day(text: str, mapping: CsvMapping) -> str:
    if mapping.time_format is not None:
        return datetime.strptime(text, mapping.time_format).replace(tzinfo=UTC).date().isoformat()
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date().isoformat()


def _ours(charge: Charge, field: KeyField) -> str:
    match field:
        case KeyField.ROW:
            return charge.row_name
        case KeyField.MAC:
            return charge.mac
        case KeyField.HARDWARE_ID:
            return charge.hardware_id
        case KeyField.DAY:
            return charge.start[:10]
        case KeyField.START:
            return charge.start
        case KeyField.LANE:
            return charge.lane
        case KeyField.SKU:
            return charge.sku
        case KeyField.NAMESPACE:
            return charge.namespace
        case KeyField.JOB:
            return charge.owner_name
        case KeyField.BILLING_KEY:
            return charge.billing_key
        case KeyField.LESSOR_BILLING_KEY:
            return charge.lessor_billing_key
        case KeyField.LESSOR:
            return charge.lessor
        case KeyField.KIND:
            return charge.kind.value


def _number(text: str, mapping: CsvMapping) -> Decimal:
    plain = text.replace(".", "").replace(",", ".") if mapping.decimal_comma else text
    try:
        found = Decimal(plain)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not found.is_finite():
        raise ValueError(f"{text!r} is no number")
    return found
