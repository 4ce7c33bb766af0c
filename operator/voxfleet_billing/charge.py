"""One line of a bill. Pure.

Nobody changes one. They are not frozen: a month has a million, and a frozen one takes ten times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class ChargeKind(StrEnum):
    """What a line is for."""

    USAGE = "Usage"  # a signed row
    IDLE = "Idle"  # rented time in which no row ran
    ESTIMATED = "Estimated"  # time of a lost attempt that no row proves; shown, never charged
    MINIMUM = "Minimum"  # what is missing to a lessor's minimum charge
    FIXED = "Fixed"  # the share of a monthly fee
    COMMITMENT = "Commitment"  # what was committed to: its price, and what of it was not used
    ROUNDING = "Rounding"  # what the rounding of an invoice adds or takes away


class CommitmentStatus(StrEnum):
    """What a line has to do with a commitment."""

    PURCHASED = "Purchased"  # its price, paid whether it is used or not
    USED = "Used"
    UNUSED = "Unused"


@dataclass(slots=True)
class Money:
    """Amounts of one line, in the lessor's currency; exact, and rounded only by the lessor's rule."""

    currency: str
    list_unit_price: Decimal
    contracted_unit_price: Decimal
    list_cost: Decimal
    contracted_cost: Decimal
    billed_cost: Decimal
    """What the invoice says of this line."""
    effective_cost: Decimal
    """What the line's owner costs: time within a commitment has its part of what was paid for that."""
    quantity: Decimal = Decimal(0)
    """How many units the unit prices are of."""
    unit: str = "Hours"


@dataclass(slots=True)
class Charge:
    kind: ChargeKind
    correction: bool
    """Whether it belongs to an earlier period that was already closed."""
    mac: str
    hardware_id: str
    start: str
    """UTC, RFC 3339."""
    end: str
    """Exclusive."""
    milliseconds: int
    """Lane time of a row; wall time of a Mac that idles; 0 for fees."""
    time_class: str
    """Productive, Retry, Overhead, Orphaned; or Idle; or empty for fees."""
    price_class: str
    """Offline or Interactive."""
    lane: str = ""
    activity: str = ""
    owner_kind: str = ""
    namespace: str = ""
    owner_name: str = ""
    owner_uid: str = ""
    shard_uid: str = ""
    attempt: int = 0
    billing_key: str = ""
    """The cost centre, as the job says."""
    team: str = ""
    lessor: str = ""
    lessor_billing_key: str = ""
    sku: str = ""
    audio_milliseconds: int = 0
    clips: int = 0
    paused_milliseconds: int = 0
    row_name: str = ""
    """`<chain>#<sequence>` of a signed row."""
    row_hash: str = ""
    signature: str = ""
    money: Money | None = None
    """None without a price."""
    note: str = ""
    machine: str = ""
    """Chip and memory, for people."""
    commitment: str = ""
    """The commitment that the line belongs to."""
    commitment_status: str = ""
