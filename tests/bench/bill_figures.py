"""A large fleet's month: how long export, reconciliation and verification take, in how much memory, and what they find.

Both checks are given twenty faults. They have to find these and no other, or nothing is measured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.failure import MeasurementFailed
from tests.bench.generated_objects import jobs, statements
from tests.bench.listed_objects import served
from tests.bench.measured_command import Measured, measured
from tests.bench.planted_differences import plant_in_csv, plant_in_jobs, plant_in_statements
from tests.bench.report import Figure, Goal
from tests.bench.tampered_archive import tampered
from tests.rig.generated_month import PUBLIC_KEY, Size, write_month

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.stored_size import stored_bytes

MONTH = Size(macs=500, nights=30, attempts_a_night=20)
REPOSITORY = Path(__file__).resolve().parents[2]
PRICES = REPOSITORY / "examples/price-book.yaml"
MAX_EXPORT_SECONDS, MAX_MEBIBYTES, MAX_STATEMENT_BYTES = 60, 300, 16_000
READY = ".ready"
Say = Callable[[str], None]


def bill_figures(folder: Path, say: Say, size: Size = MONTH) -> list[Figure]:
    """`folder` keeps the archive, which takes minutes to sign. Raises MeasurementFailed."""
    archive = folder / f"archive-{size.macs}-{size.nights}-{size.attempts_a_night}"
    if not (archive / READY).exists():
        say(f"signing {size.rows} rows of {size.macs} Macs (kept in {archive})")
        write_month(archive, size, say)
        (archive / READY).touch()
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    try:
        return [
            *_export_figures(archive, run / "bill.csv", size, say),
            *_reconcile_figures(archive, run, size, say),
            *_verify_figures(archive, run / "tampered", size, say),
        ]
    finally:
        shutil.rmtree(run)


def _export_figures(archive: Path, out: Path, size: Size, say: Say) -> list[Figure]:
    say(f"exporting {size.rows} rows")
    done = measured(
        ["bill", "export", "--format", "focus-1.2", "--out", str(out), "--price-book", str(PRICES), *_of(archive, size)]
    )
    with out.open("rb") as file:
        lines = sum(1 for _ in file) - 1
    if lines < size.rows:
        raise MeasurementFailed(f"{out} has {lines} lines for {size.rows} rows")
    return _figures("bill_export", f"FOCUS export of {_month(size)}", done, size, Goal("<=", MAX_EXPORT_SECONDS))


def _reconcile_figures(archive: Path, run: Path, size: Size, say: Say) -> list[Figure]:
    bill, edited = run / "bill.csv", run / "edited.csv"
    planted = plant_in_csv(bill, edited, size.rows)
    bill.with_name(f"{bill.name}.manifest.json").rename(edited.with_name(f"{edited.name}.manifest.json"))
    bill.unlink()
    say(f"statements of {size.macs} Macs")
    written = list(statements(archive, size))
    largest = max(map(stored_bytes, written))
    told = list(plant_in_statements(written, planted))
    say(f"reconciling {size.rows} rows, with {len(planted) + 2} planted differences")
    with served(run, {MachineHourStatement: told, AudioBatchJob: plant_in_jobs(jobs(size), planted)}) as kubeconfig:
        done = measured(
            [
                *("bill", "reconcile", "--csv", str(edited), "--price-book", str(PRICES), "-o", "json"),
                *("--kubeconfig", str(kubeconfig), *_of(archive, size)),
            ],
            exit_codes=(1,),
        )
    edited.unlink()
    document = json.loads(done.output)
    found = [(line["kind"], line["line"].split(" ")[0]) for line in document["lines"]]
    found += [(side["fact"], side["side"]) for side in document["sides"]]
    _expect("reconcile", sorted(found), sorted(planted))
    if document["signedRows"] != size.rows or document["lineDifferences"] != len(document["lines"]):
        raise MeasurementFailed(f"reconcile tells of {document['signedRows']} rows: {done.output[:500]}")
    what = f"reconciliation of {_month(size)} with a CSV, {len(told)} statements and {document['settledJobs']} jobs"
    return [
        Figure(
            "bill_largest_statement_bytes",
            largest,
            f"bytes of the largest statement, of {_month(size)}",
            Goal("<=", MAX_STATEMENT_BYTES),
        ),
        *_figures("bill_reconcile", what, done, size),
        Figure("bill_reconcile_found", len(found), "differences found, and nothing else, of 20 planted"),
    ]


def _verify_figures(archive: Path, copy: Path, size: Size, say: Say) -> list[Figure]:
    planted = tampered(archive, copy, size.month, size.macs)
    say(f"verifying {size.rows} rows, of which {len(planted)} are tampered with")
    done = measured(
        ["bill", "verify", "--offline", "--public-key", PUBLIC_KEY, "-o", "json", *_of(copy, size)], exit_codes=(1,)
    )
    document = json.loads(done.output)
    found: dict[str, str] = {}
    for finding in document["findings"]:
        found[finding["mac"]] = f"{found.get(finding['mac'], '')} {finding['where']}: {finding['message']};"
    _expect("verify", sorted(found), sorted(planted))
    missed = {mac: row for mac, row in planted.items() if f" {row} " not in found[mac].replace(":", " ")}
    if missed:
        raise MeasurementFailed(f"verify does not name {missed}; it tells {[found[mac] for mac in missed]}")
    return [
        *_figures("bill_verify", f"verification of {_month(size)}", done, size),
        Figure("bill_verify_found", len(found), "rows found, on as many Macs, and no other, of 20 tampered with"),
    ]


def _figures(name: str, what: str, done: Measured, size: Size, goal: Goal | None = None) -> list[Figure]:
    return [
        Figure(f"{name}_seconds", done.seconds, f"seconds, {what}", goal),
        Figure(f"{name}_processor_seconds", done.processor_seconds, "seconds of a processor, of all its processes"),
        Figure(f"{name}_rows_per_second", size.rows / done.seconds, "rows a second"),
        Figure(
            f"{name}_peak_mib",
            done.peak_mebibytes,
            "MiB of all its processes at most",
            None if goal is None else Goal("<=", MAX_MEBIBYTES),
        ),
    ]


def _expect(command: str, found: object, planted: object) -> None:
    if found != planted:
        raise MeasurementFailed(f"{command} finds {found}, and these were planted: {planted}")


def _of(archive: Path, size: Size) -> list[str]:
    return ["--archive", archive.as_uri(), "--period", size.month]


def _month(size: Size) -> str:
    return f"{size.rows:,} rows of {size.macs} Macs"
