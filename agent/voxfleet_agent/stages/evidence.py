"""What a quarantined clip leaves behind before its row is recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from voxfleet_api.results import Evidence, ManifestRow, ResultRow

HEAD_BYTES = 64


def evidence_name(index: int) -> str:
    """Below the job's folder."""
    return f"quarantine/{index:06d}.json"


async def evidence_of(row: ResultRow, clip: ManifestRow, file: Path | None) -> Evidence:
    """`file`: the clip as fetched; None when it never was. The same clip always gives the same bytes."""
    if row.error is None or row.error.failure_class is None:
        raise ValueError(f"clip {row.index} is not quarantined")
    return Evidence(
        index=row.index,
        custom_id=row.custom_id,
        failure_class=row.error.failure_class,
        reason=row.error.reason,
        sha256=row.sha256,
        size_bytes=clip.size_bytes,
        etag=clip.etag,
        head="" if file is None else await asyncio.to_thread(_head, file),
        attestation=row.attestation,
    )


def _head(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(HEAD_BYTES).hex()
