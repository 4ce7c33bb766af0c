"""What stands beside an export: from what it was made, and what it comes to. Pure, and the same for the same export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.exports.written_file import WrittenFile
from voxfleet_billing.instants import text_of
from voxfleet_billing.money import plain

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Export:
    """What was asked for, and from what it was made."""

    period: str
    form: str
    """Such as focus-1.2."""
    lessor: str | None
    price_book_digest: str | None
    template_sha256: str | None
    idle_until: int
    """Milliseconds since 1970."""
    voxfleet_version: str
    file_name: str


def manifest(export: Export, indexes: Sequence[MonthIndex], written: WrittenFile, tally: Tally) -> dict[str, object]:
    """JSON without floats: seconds and money are texts."""
    return {
        "manifestVersion": FORMAT_VERSION,
        "voxfleetVersion": export.voxfleet_version,
        "period": export.period,
        "final": all(index.final for index in indexes),
        "format": export.form,
        "lessor": export.lessor,
        "priceBookDigest": export.price_book_digest,
        "templateSha256": export.template_sha256,
        "idleUntil": text_of(export.idle_until),
        "file": {
            "name": export.file_name,
            "sha256": written.sha256,
            "sizeBytes": written.size_bytes,
            "lines": written.lines,
        },
        "kinds": {
            kind.value: {
                "lines": total.lines,
                "seconds": f"{total.milliseconds // 1000}.{total.milliseconds % 1000:03d}",
            }
            for kind, total in sorted(tally.kinds.items())
        },
        "corrections": tally.corrections,
        "unpriced": tally.unpriced,
        "totals": {
            currency: {
                "listCost": plain(total.list_cost),
                "contractedCost": plain(total.contracted_cost),
                "billedCost": plain(total.billed_cost),
                "effectiveCost": plain(total.effective_cost),
            }
            for currency, total in sorted(tally.currencies.items())
        },
        "archive": [
            {
                "mac": index.mac,
                "revision": index.revision,
                "final": index.final,
                "heads": [
                    {"chainId": head.chain_id, "sequence": head.sequence, "hash": head.hash} for head in index.heads
                ],
            }
            for index in indexes
        ],
    }
