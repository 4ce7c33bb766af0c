"""Price books, of which a test gives only what it is about."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from voxfleet_billing.price_book import PriceBook, load_price_book


def lessor(**fields: object) -> dict[str, object]:
    """Charges 2.40 an hour by the list, 2.00 by contract and 0.50 for an idle Mac, without a minimum."""
    return {
        "name": "acme",
        "account": "ACME-1",
        "invoiceIssuer": "Acme",
        "currency": "EUR",
        "rounding": {"unit": "0.01", "mode": "HalfUp", "at": "Line"},
        "skus": [sku()],
        **fields,
    }


def sku(**fields: object) -> dict[str, object]:
    return {"name": "m4pro-48", "rates": [rate("2026-01-01")], **fields}


def rate(first: str, **fields: str | None) -> dict[str, object]:
    return {"from": first, "listHourly": "2.40", "contractedHourly": "2.00", "idleHourly": "0.50", **fields}


def book(*lessors: Mapping[str, object], **fields: object) -> PriceBook:
    return load_price_book(yaml.safe_dump({"lessors": [dict(entry) for entry in lessors or (lessor(),)], **fields}))
