"""A lessor's own CSV: which columns, and what stands in them, says a template. Pure.

    kinds: [Usage, Idle]          # absent: all but Estimated
    delimiter: ";"                # absent: a comma
    decimalSeparator: ","         # absent: a point
    columns:
      - {header: Day, value: "{start:%d.%m.%Y}"}
      - {header: Mac, value: "{mac} ({hardware_id})"}
      - {header: Hours, value: "{hours:.4}"}

A value is text with fields in braces: those of TEXTS as they are, those of NUMBERS with `:.N` for N decimals (rounded
half up), those of TIMES with a format of %Y %m %d %H %M %S in UTC. `{{` and `}}` stand for braces. Nothing else is
evaluated: a template can reach no more than these fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from operator import attrgetter
from string import Formatter
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from voxfleet_api.base import SpecModel
from voxfleet_billing.charge import Charge, ChargeKind, Money
from voxfleet_billing.exports.csv_text import csv_line, no_formula
from voxfleet_billing.instants import SECOND_MILLISECONDS, milliseconds_of, moment_of
from voxfleet_billing.money import hours_of, plain, with_decimals
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

_DECIMALS = re.compile(r"\.([0-9]|1[0-8])")
"""A price has at most six decimals, and hours twelve."""
_TIME_FORMAT = re.compile(r"([^%]|%[YmdHMS])*")

Value = Callable[[Charge], str]


class TemplateError(ValueError):
    """A template that cannot be used; the message names the column and says what to write."""


class NoMoney(Exception):
    """A column asks for money of a line that has none; the message names the line and says why it has none."""


class TemplateColumn(SpecModel):
    header: Annotated[str, Field(min_length=1, max_length=128)]
    value: Annotated[str, Field(max_length=512)]


class LessorTemplate(SpecModel):
    kinds: Annotated[tuple[ChargeKind, ...], Field(min_length=1)] = tuple(
        kind for kind in ChargeKind if kind is not ChargeKind.ESTIMATED
    )
    delimiter: Annotated[str, Field(pattern=r"^[,;|\t]$")] = ","
    decimal_separator: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    columns: Annotated[tuple[TemplateColumn, ...], Field(min_length=1, max_length=128)]


_AS_THEY_ARE = (
    *("mac", "hardware_id", "machine", "time_class", "price_class", "lane", "activity", "owner_kind", "namespace"),
    *("owner_name", "owner_uid", "shard_uid", "attempt", "billing_key", "team", "lessor", "lessor_billing_key", "sku"),
    *("commitment", "commitment_status", "row_name", "row_hash", "signature", "note", "milliseconds", "clips"),
)


def _as_it_is(name: str) -> Value:
    field = attrgetter(name)
    return lambda line: str(field(line))


TEXTS: dict[str, Value] = {
    "kind": lambda line: line.kind.value,
    "correction": lambda line: "Correction" if line.correction else "",
    **{name: _as_it_is(name) for name in _AS_THEY_ARE},
    "currency": lambda line: _money(line).currency,
    "unit": lambda line: "" if line.money is None else line.money.unit,
}
TIMES: dict[str, Callable[[Charge], str]] = {"start": lambda line: line.start, "end": lambda line: line.end}
NUMBERS: dict[str, Callable[[Charge], Decimal]] = {
    "hours": lambda line: hours_of(line.milliseconds),
    "seconds": lambda line: Decimal(line.milliseconds).scaleb(-3),
    "wall_seconds": lambda line: Decimal(milliseconds_of(line.end) - milliseconds_of(line.start)).scaleb(-3),
    "paused_seconds": lambda line: Decimal(line.paused_milliseconds).scaleb(-3),
    "audio_seconds": lambda line: Decimal(line.audio_milliseconds).scaleb(-3),
    "quantity": lambda line: _money(line).quantity,
    "list_unit_price": lambda line: _money(line).list_unit_price,
    "unit_price": lambda line: _money(line).contracted_unit_price,
    "list_cost": lambda line: _money(line).list_cost,
    "contracted_cost": lambda line: _money(line).contracted_cost,
    "billed_cost": lambda line: _money(line).billed_cost,
    "effective_cost": lambda line: _money(line).effective_cost,
}


def load_template(text: str) -> LessorTemplate:
    """Raises TemplateError."""
    try:
        content = yaml.safe_load(text)
    except YAML_ERRORS as error:
        raise TemplateError(f"the template is no YAML: {yaml_problem(error)}") from error
    try:
        template = LessorTemplate.load(content)
    except ValidationError as error:
        raise TemplateError("; ".join(f"{detail['loc']}: {detail['msg']}" for detail in error.errors())) from error
    _values(template)
    return template


def lessor_header(template: LessorTemplate) -> str:
    return csv_line((column.header for column in template.columns), template.delimiter)


def lessor_lines(template: LessorTemplate, charges: Iterable[Charge]) -> Iterator[str]:
    """The CSV's lines below the header, each with its end. Raises NoMoney, and what `charges` raises."""
    values, kinds = _values(template), frozenset(template.kinds)
    for line in charges:
        if line.kind in kinds:
            yield csv_line([value(line) for value in values], template.delimiter)


def _values(template: LessorTemplate) -> list[Value]:
    return [_value(column, template.decimal_separator) for column in template.columns]


def _value(column: TemplateColumn, separator: str) -> Value:
    parts: list[Value] = []
    try:
        pieces = list(Formatter().parse(column.value))
    except ValueError as error:
        raise TemplateError(f"column {column.header}: {error}; write each brace that is no field twice") from error
    for literal, field, form, conversion in pieces:
        if literal:
            parts.append(_literal(literal))
        if field is None:
            continue
        if conversion is not None:
            raise TemplateError(f"column {column.header}: {{{field}!{conversion}}}: write it without !{conversion}")
        parts.append(_field(column.header, field, form or "", separator))
    numeric = len(parts) == 1 and any(field in NUMBERS for _, field, _, _ in pieces)
    if numeric:
        return parts[0]
    return lambda line: no_formula("".join(part(line) for part in parts))


def _literal(text: str) -> Value:
    return lambda _: text


def _field(header: str, name: str, form: str, separator: str) -> Value:
    if name in NUMBERS:
        return _number(header, NUMBERS[name], form, separator)
    if name in TIMES:
        return _time(header, TIMES[name], form)
    if name in TEXTS:
        if form:
            raise TemplateError(f"column {header}: {{{name}:{form}}}: {name} is a text; write {{{name}}}")
        return TEXTS[name]
    known = ", ".join(sorted({*NUMBERS, *TIMES, *TEXTS}))
    raise TemplateError(f"column {header}: there is no field {name!r}; there are {known}")


def _number(header: str, number: Callable[[Charge], Decimal], form: str, separator: str) -> Value:
    match = _DECIMALS.fullmatch(form)
    if form and match is None:
        raise TemplateError(f"column {header}: a number's format is :.N for N decimals, at most 18, not :{form}")
    if match is None:
        return lambda line: plain(number(line)).replace(".", separator)
    places = int(match[1])
    return lambda line: with_decimals(number(line), places).replace(".", separator)


def _time(header: str, text: Callable[[Charge], str], form: str) -> Value:
    if not _TIME_FORMAT.fullmatch(form):
        raise TemplateError(f"column {header}: a time's format has %Y %m %d %H %M %S, not {form}")
    if not form:
        return text
    return lambda line: moment_of(milliseconds_of(text(line)) // SECOND_MILLISECONDS * SECOND_MILLISECONDS).strftime(
        form
    )


def _money(line: Charge) -> Money:
    if line.money is None:
        what = line.row_name or f"{line.kind} time of Mac {line.mac}"
        raise NoMoney(f"the template asks for money, and {what} has none: {line.note or 'it is not charged'}")
    return line.money
