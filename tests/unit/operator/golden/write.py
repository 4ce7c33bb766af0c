"""Writes the golden tables anew, from what the code decides now. What differs is a change of behaviour: read it."""

from __future__ import annotations

from tests.rig.kstatus import kstatus, manifest
from tests.unit.operator.golden.attempt_sections import INTRODUCTION as ATTEMPTS
from tests.unit.operator.golden.attempt_sections import attempt_sections
from tests.unit.operator.golden.condition_sections import INTRODUCTION as CONDITIONS
from tests.unit.operator.golden.condition_sections import condition_sections, states
from tests.unit.operator.golden.markdown_tables import FOLDER, rendered


def main() -> None:
    (FOLDER / "attempts.md").write_text(rendered(ATTEMPTS, attempt_sections()))
    told = {
        kind.crd.kind: dict(zip(found, kstatus(*map(manifest, found.values())), strict=True))
        for kind, found in states().items()
    }
    (FOLDER / "conditions.md").write_text(rendered(CONDITIONS, condition_sections(told)))


if __name__ == "__main__":
    main()
