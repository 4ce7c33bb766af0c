"""A copy of an archive in which one row of each of twenty Macs was tampered with, and index and digests made to fit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from voxfleet_api.digest import canonical_json
from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, index_path, segment_path
from voxfleet_billing.archive_reader import SETTLEMENT

Documents = list[dict[str, Any]]
Tamper = Callable[[Documents, int], str]
"""Changes a segment's lines at a row's place; returns the name of the row that has to be told."""


def _field(*path: str, to: object) -> Tamper:
    def change(documents: Documents, at: int) -> str:
        name, place = _name(documents[at]), documents[at]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        return name

    return change


def _dropped(documents: Documents, at: int) -> str:
    return _name(documents.pop(at))


def _repeated(documents: Documents, at: int) -> str:
    documents.insert(at, documents[at])
    return _name(documents[at])


def _swapped(documents: Documents, at: int) -> str:
    documents[at], documents[at + 1] = documents[at + 1], documents[at]
    return _name(documents[at + 1])


def _put_in(documents: Documents, at: int) -> str:
    """A row of another, with a hash that fits and no key to sign it."""
    row = {**documents[at]["row"], "clips": 10_000}
    documents[at] = {**documents[at], "row": row, "hash": hashlib.sha256(canonical_json(row)).hexdigest()}
    return _name(documents[at])


TAMPERS: tuple[Tamper, ...] = (
    _field("row", "monotonicMilliseconds", to=540_124),
    _field("row", "owner", "namespace", to="others"),
    _field("row", "pausedMilliseconds", to=1),
    _field("row", "previousHash", to="0" * 64),
    _field("hash", to="f" * 64),
    _field("signature", to="AAAA"),
    _dropped,
    _repeated,
    _swapped,
    _put_in,
)
EACH = 2


def tampered(archive: Path, copy: Path, month: str, macs: int) -> dict[str, str]:
    """The rows that have to be told, by Mac. The copy shares the files of the archive that are not changed."""
    for folder, _, names in os.walk(archive):
        target = copy / Path(folder).relative_to(archive)
        target.mkdir(parents=True)
        for name in names:
            os.link(Path(folder, name), target / name)
    chosen = TAMPERS * EACH
    planted = {}
    for number, tamper in enumerate(chosen):
        mac = sorted(path.name for path in (copy / month).iterdir())[number * macs // len(chosen)]
        planted[mac] = _tamper(copy, month, mac, tamper)
    return planted


def _tamper(archive: Path, month: str, mac: str, tamper: Tamper) -> str:
    file = archive / index_path(month, mac, 1)
    index = MonthIndex.load_json(file.read_bytes())
    place = len(index.segments) // 2
    entry = index.segments[place]
    segment = archive / segment_path(month, mac, entry.name)
    documents = [json.loads(line) for line in segment.read_bytes().splitlines()]
    rows = [number for number, document in enumerate(documents) if "row" in document]
    told = tamper(documents, rows[len(rows) // 2])
    content = b"".join(_written(documents))
    sequences = [document["row"]["sequence"] for document in documents if "row" in document]
    changed = entry.model_copy(
        update={
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows": len(sequences),
            "first_sequence": sequences[0],
            "last_sequence": sequences[-1],
            "size_bytes": len(content),
        }
    )
    _replace(segment, content)
    _replace(file, canonical_json(_with_segment(index, place, changed).dump()))
    return told


def _with_segment(index: MonthIndex, place: int, entry: SegmentEntry) -> MonthIndex:
    segments = (*index.segments[:place], entry, *index.segments[place + 1 :])
    return index.model_copy(update={"segments": segments})


def _written(documents: Documents) -> Iterator[bytes]:
    for document in documents:
        line = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        assert line.startswith(SETTLEMENT) or "row" in document
        yield line + b"\n"


def _replace(file: Path, content: bytes) -> None:
    """The file is the archive's, too."""
    file.unlink()
    file.write_bytes(content)


def _name(document: dict[str, Any]) -> str:
    return f"{document['row']['chainId']}#{document['row']['sequence']}"
