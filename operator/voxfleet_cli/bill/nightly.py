"""`voxfleet bill nightly`: a night's CSV, made again out of the archived rows and held against the one there is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_api.digest import sha256_hex
from voxfleet_api.quantities import hours_text
from voxfleet_billing.archive_access import ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.nightly.night_archive import StoredNight, add_source, differing, newest_night, read_night
from voxfleet_billing.nightly.night_csv import NightCsv, NightFrame
from voxfleet_billing.nightly.nightly_format import NightFile, NightManifest, csv_name, path_of
from voxfleet_cli.bill.inputs import Archive, NotFound, UsageError, exit_codes, named
from voxfleet_cli.command_line import Exit
from voxfleet_cli.render import Output, document

_NIGHT = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
STDOUT = "-"


def nightly(
    night: Annotated[
        str | None,
        typer.Option("--night", metavar="DATE", help="Such as 2026-11-29. Default: the newest that is closed."),
    ] = None,
    archive: Archive = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the CSV that was made again, too; - is stdout.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
) -> None:
    """Check the CSV of a night: made again out of the archived rows, it has the bytes that the operator wrote.

    The operator writes it into the archive once the night is over, below nightly/. Rows that came later are in the CSV
    of the night in which they came, marked Late.
    """
    with exit_codes():
        uri = named(archive)
        store = open_archive(uri)
        stored = _night(store, uri, night)
        try:
            with _opened(out) as write:
                problems = _made_again(store, stored, write)
        except (ObjectDamaged, ObjectMissing) as error:
            problems = [str(error)]
        problems += _left_out(stored.manifest)
    told = {**_facts(stored.manifest), "problems": problems}
    text = _text(stored.manifest, problems) if output is Output.TEXT else document(told, output)
    print(text, file=sys.stderr if out == STDOUT else sys.stdout)
    raise typer.Exit(Exit.REFUSED if problems else Exit.OK)


def _night(store: ArchiveStore, uri: str, night: str | None) -> StoredNight:
    if night is not None and not _NIGHT.fullmatch(night):
        raise UsageError(f"--night {night}: write the date of its evening, such as 2026-11-29")
    found = newest_night(store) if night is None else read_night(store, night)
    if found is None:
        raise NotFound(f"{uri} has no closed night{'' if night is None else f' {night}'}")
    return found


def _made_again(store: ArchiveStore, stored: StoredNight, write: Callable[[bytes], object]) -> list[str]:
    """What does not fit. The parts are written one after the other, under one header. Raises ArchiveError."""
    manifest, problems = stored.manifest, list[str]()

    def done(_: ArchiveStore, made: NightFile, content: bytes) -> None:
        problem = differing(made, manifest.files) or _as_stored(store, made)
        if problem is not None:
            problems.append(problem)
        is_first = made.name == csv_name(manifest.night, 1)
        write(content if is_first else content[content.index(b"\n") + 1 :])

    csv = NightCsv(NightFrame.of(manifest), done)
    for source in manifest.sources:
        add_source(store, source, csv)
    csv.end(store)
    return problems


@contextmanager
def _opened(out: str | None) -> Iterator[Callable[[bytes], object]]:
    """A file is there as a whole or not at all."""
    if out is None:
        yield len
    elif out == STDOUT:
        yield sys.stdout.buffer.write
    else:
        unfinished = Path(f"{out}.unfinished")
        try:
            with unfinished.open("wb") as file:
                yield file.write
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)


def _as_stored(store: ArchiveStore, made: NightFile) -> str | None:
    try:
        content = store.get(path_of(made.name))
    except ObjectMissing:
        return f"{path_of(made.name)}: is missing in the archive; --out writes it"
    if sha256_hex(content) != made.sha256:
        return f"{path_of(made.name)}: was changed since it was written; --out writes it as it was"
    return None


def _left_out(manifest: NightManifest) -> Iterator[str]:
    for source in manifest.sources:
        if source.problem is not None:
            yield f"Mac {source.mac} is left out, and comes in a later night: {source.problem}"


def _facts(manifest: NightManifest) -> dict[str, object]:
    return {
        "night": manifest.night,
        "from": manifest.first,
        "until": manifest.until,
        "closed": str(manifest.closed),
        "awaited": list(manifest.awaited),
        "rows": manifest.rows,
        "lateRows": manifest.late_rows,
        "machineHours": hours_text(manifest.machine_milliseconds),
        "files": [file.dump() for file in manifest.files],
    }


def _text(manifest: NightManifest, problems: list[str]) -> str:
    late = f", {manifest.late_rows} of them of earlier nights" if manifest.late_rows else ""
    awaited = f"; rows of {', '.join(manifest.awaited)} were still expected" if manifest.awaited else ""
    names = ", ".join(path_of(file.name) for file in manifest.files)
    hours = hours_text(manifest.machine_milliseconds)
    lines = [
        f"night {manifest.night}, from {manifest.first} until {manifest.until}: {manifest.rows} rows{late},"
        f" {hours} machine-hours{awaited}",
        *problems,
        f"{names}: {len(problems)} problems" if problems else f"{names}: byte for byte what the archived rows give",
    ]
    return "\n".join(lines)
