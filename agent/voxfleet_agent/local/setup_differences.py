"""What two finished runs were told to do, where it differs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from voxfleet_agent.local.environment import QUARANTINE, TMPDIR
from voxfleet_agent.stages.finalize.repro import ReproBundle

_TOLD = ("task", "contract", "transcription", "synthesis", "formats", "model", "modelDigest", "modelRevision")
_PLACES = (TMPDIR, QUARANTINE)

SetupDifferences = Mapping[str, tuple[str | None, str | None]]
"""(of A, of B) by field, such as `contract.input.maxClip`; None: the field is absent."""


def setup_differences(a: ReproBundle, b: ReproBundle) -> SetupDifferences:
    """Contract, task, model, and how the machines were set up; where a run kept its files is no difference."""
    there, here = dict(_fields(a)), dict(_fields(b))
    names = [*there, *(name for name in here if name not in there)]
    return {name: (there.get(name), here.get(name)) for name in names if there.get(name) != here.get(name)}


def _fields(bundle: ReproBundle) -> Iterator[tuple[str, str]]:
    plain = bundle.dump()
    for name in _TOLD:
        yield from _flat(name, plain.get(name))
    several: dict[str, set[str]] = {}
    for setting in bundle.settings:
        names = {name: value for name, value in setting.environment.items() if name not in _PLACES}
        for name, value in {**names, "os": setting.os, "model's rate": f"{setting.sample_rate_hz} Hz"}.items():
            several.setdefault(name, set()).add(value)
    yield from ((name, ", ".join(sorted(several[name]))) for name in sorted(several))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, str):
        yield name, value
    elif value is not None:
        yield name, json.dumps(value)
