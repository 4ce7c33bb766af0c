"""Random ledgers of a month, and price books for them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hypothesis import strategies as st
from tests.rig.archived_month import MONTH_END, MONTH_START, ArchivedMac, ArchivedMonth, facts, row
from tests.rig.price_books import book, lessor, rate, sku

from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.instants import text_of
from voxfleet_billing.price_book import PriceBook

HOUR = 3_600_000
MACS = ("mac-01", "mac-02")
CLASSES = ("Productive", "Retry", "Overhead", "Orphaned")
WINDOWS = (
    None,
    OpeningHours.load({"timeZone": "Europe/Berlin", "windows": [{"start": "20:00", "end": "06:00"}]}),
    OpeningHours.load({"rentalStart": "2026-11-05T00:00:00Z", "rentalEnd": "2026-11-25T12:00:00Z"}),
)


@st.composite
def lane_rows(draw: st.DrawFn, mac: str, lane: int) -> list[ArchivedRow]:
    """One lane's rows, one after the other, some late ones of the month before first; a Mac may sleep in a row."""
    moment = MONTH_START - draw(st.sampled_from([0, 0, 0, 30 * HOUR]))
    found = []
    for _ in range(draw(st.integers(0, 6))):
        start = moment + draw(st.integers(0, 40 * HOUR))
        billed, slept = draw(st.integers(0, 9 * HOUR)), draw(st.sampled_from([0, 0, 5 * HOUR]))
        border = MONTH_START if start < MONTH_START else MONTH_END
        end = min(start + billed + slept, border)
        if start >= border:
            break
        found.append(
            row(
                text_of(start),
                wall_end=text_of(end),
                milliseconds=min(billed, end - start),
                hardware_id=mac,
                chain_id=f"{mac}-{lane}",
                lane=f"offline/{lane}",
                time_class=draw(st.sampled_from(CLASSES)),
                owner_namespace=draw(st.sampled_from(["speech", "calls"])),
                billing_key=draw(st.sampled_from([None, "team-speech"])),
            )
        )
        moment = end
    return [replace(entry, sequence=place) for place, entry in enumerate(found)]


@st.composite
def months(draw: st.DrawFn) -> ArchivedMonth:
    macs = {}
    for mac in MACS:
        lanes = [draw(lane_rows(mac, lane)) for lane in range(draw(st.integers(1, 2)))]
        then = facts(
            hardware_id=mac,
            since="2026-09-01T00:00:00Z",
            until=draw(st.sampled_from([None, "2026-11-20T10:00:00Z"])),
            availability=draw(st.sampled_from(WINDOWS)),
        )
        macs[mac] = ArchivedMac([entry for lane in lanes for entry in lane], (then,))
    return ArchivedMonth(macs)


MINIMUMS = (None, {"per": "Row", "hours": 1}, {"per": "Day", "amount": "3.33"}, {"per": "Month", "hours": 200})
COMMITMENT = {"hoursPerMonth": 20, "hourly": "1.1", "from": "2026-11-01"}


@lru_cache
def price_book(unit: str, mode: str, at: str, fee: str, minimum: int, committed: bool) -> PriceBook:
    rates = [rate("2026-01-01", until="2026-11-11"), rate("2026-11-11", contractedHourly="1.333333")]
    fields: dict[str, object] = {
        "rounding": {"unit": unit, "mode": mode, "at": at},
        "skus": [sku(rates=rates)],
        "monthlyFees": [{"name": "rack", "amount": fee, "from": "2026-01-01"}],
        "commitments": [COMMITMENT] if committed else [],
        "minimumCharge": MINIMUMS[minimum],
    }
    return book(lessor(**fields))


def books() -> st.SearchStrategy[PriceBook]:
    return st.builds(
        price_book,
        st.sampled_from(["0.01", "0.05"]),
        st.sampled_from(["HalfUp", "HalfEven", "Up"]),
        st.sampled_from(["Line", "Invoice"]),
        st.sampled_from(["0", "99.99", "100.00"]),
        st.integers(0, len(MINIMUMS) - 1),
        st.booleans(),
    )
