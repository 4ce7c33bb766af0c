"""Writes the golden tables anew, from what the code decides now. What differs is a change of behaviour: read it."""

from __future__ import annotations

from tests.rig.kstatus import kstatus, manifest
from tests.unit.operator.golden.attempt_sections import INTRODUCTION as ATTEMPTS
from tests.unit.operator.golden.attempt_sections import attempt_sections
from tests.unit.operator.golden.condition_sections import INTRODUCTION as CONDITIONS
from tests.unit.operator.golden.condition_sections import condition_sections, states
from tests.unit.operator.golden.health_sections import FILE as HEALTH_FILE
from tests.unit.operator.golden.health_sections import INTRODUCTION as HEALTH
from tests.unit.operator.golden.health_sections import health_sections, upstream_tests
from tests.unit.operator.golden.markdown_tables import FOLDER, rendered

from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.gitops import CUSTOMIZATIONS


def main() -> None:
    (FOLDER / "attempts.md").write_text(rendered(ATTEMPTS, attempt_sections()))
    told = {
        kind.crd.kind: dict(zip(found, kstatus(*map(manifest, found.values())), strict=True))
        for kind, found in states().items()
    }
    (FOLDER / "conditions.md").write_text(rendered(CONDITIONS, condition_sections(told)))
    HEALTH_FILE.write_text(rendered(HEALTH, health_sections(told)))
    _write_upstream_tests()


def _write_upstream_tests() -> None:
    wanted = upstream_tests()
    for file in (REPOSITORY / CUSTOMIZATIONS).rglob("*.yaml"):
        if file not in wanted:
            file.unlink()
    for file, text in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main()
