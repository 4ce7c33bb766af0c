"""Amounts of money and hours: decimal, exact until a lessor's rule rounds them, and never of two currencies. Pure.

Sums and products are computed in EXACT, which raises where a digit would be lost or where a float comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
)
from enum import StrEnum

EXACT = Context(prec=60, traps=[DivisionByZero, FloatOperation, Inexact, InvalidOperation, Overflow])
_ROUNDED = Context(prec=60, traps=[DivisionByZero, FloatOperation, InvalidOperation, Overflow])

MILLISECONDS_AN_HOUR = 3_600_000
HOUR_DIGITS = Decimal("1E-12")
"""A millisecond is no decimal fraction of an hour. Twelve digits tell each count of milliseconds from the next."""
ZERO = Decimal(0)
_AN_HOUR = Decimal(MILLISECONDS_AN_HOUR)


class RoundingMode(StrEnum):
    HALF_UP = "HalfUp"
    HALF_EVEN = "HalfEven"
    UP = "Up"  # toward the greater amount


_PYTHON_MODES = {
    RoundingMode.HALF_UP: ROUND_HALF_UP,
    RoundingMode.HALF_EVEN: ROUND_HALF_EVEN,
    RoundingMode.UP: ROUND_CEILING,
}


class MixedCurrencies(TypeError):
    """Amounts of two currencies do not add up; nothing here converts one into the other."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Money of one currency."""

    currency: str
    value: Decimal

    def __add__(self, other: Amount) -> Amount:
        """Raises MixedCurrencies."""
        if other.currency != self.currency:
            raise MixedCurrencies(f"{self} and {other} do not add up: VoxFleet converts no currency")
        return Amount(self.currency, EXACT.add(self.value, other.value))

    def __str__(self) -> str:
        return f"{plain(self.value)} {self.currency}"


def hours_of(milliseconds: int) -> Decimal:
    """Hours, rounded half to even to twelve digits."""
    return _ROUNDED.quantize(_ROUNDED.divide(Decimal(milliseconds), _AN_HOUR), HOUR_DIGITS)


def rounded(value: Decimal, unit: Decimal, mode: RoundingMode) -> Decimal:
    """The multiple of `unit` that the rule chooses."""
    steps = _ROUNDED.divide(value, unit).to_integral_value(rounding=_PYTHON_MODES[mode])
    return EXACT.multiply(steps, unit)


def shares(total: Decimal, weights: Sequence[int], unit: Decimal) -> list[Decimal]:
    """Divides `total` by weights that are not negative, of which one is positive. The shares sum to it exactly.

    Each is a multiple of `unit` (largest remainder; of equals the first), but for the first positive one, which also
    has what of `total` is no multiple.
    """
    whole = sum(weights)
    steps = int(_ROUNDED.divide(total, unit).to_integral_value(rounding=ROUND_DOWN))
    floors = [steps * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: (-(steps * weights[place] % whole), place))
    for place in by_remainder[: steps - sum(floors)]:
        floors[place] += 1
    found = [EXACT.multiply(Decimal(count), unit) for count in floors]
    first = next(place for place, weight in enumerate(weights) if weight)
    found[first] = EXACT.add(found[first], EXACT.subtract(total, added(found)))
    return found


def added(values: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def with_decimals(value: Decimal, places: int) -> str:
    """Rounded half up."""
    return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _ROUNDED):f}"


def plain(value: Decimal) -> str:
    """Digits and at most one point, without trailing zeros, signs of plus and exponents."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
