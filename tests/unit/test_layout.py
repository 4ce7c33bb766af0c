"""The folders that hold packages are no packages themselves; docs/layout.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = "tests/unit/operator/golden"


@pytest.mark.parametrize("folder", ["operator", "agent", "crds", "hack"])
def test_package_root_is_no_package(folder: str) -> None:
    """operator/__init__.py would shadow the standard library's operator for anything started at the root."""
    assert not (REPOSITORY / folder / "__init__.py").exists()


def test_test_folders_are_no_packages() -> None:
    """But one, whose tests share a fleet: pytest ends what a package shares, and knows no folder."""
    shared = REPOSITORY / "tests/e2e/shared/__init__.py"
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == [shared]


@pytest.mark.parametrize("folder", ["tests/bench", "tests/rig/fake_fleet", "tests/sim", "tests/soak", GOLDEN])
def test_the_layout_names_the_modules_that_there_are(folder: str) -> None:
    modules = {file.relative_to(REPOSITORY / folder).with_suffix("") for file in (REPOSITORY / folder).rglob("*.py")}
    named = [name for name in layout_modules(folder) if not name.endswith(".md")]
    assert {Path(name) for name in named} == modules and len(named) == len(modules)


def layout_modules(folder: str) -> list[str]:
    """The modules in a folder's section. The line of a folder in it ends with `/`, and what it holds is indented."""
    layout = (REPOSITORY / "docs" / "layout.md").read_text()
    section = re.search(rf"^## {folder}$.*?^```$(.*?)^```$", layout, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/layout.md has no section {folder}"
    found, inside = [], ""
    for line in section[1].strip().splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        if names[0].endswith("/"):
            (inside,) = names
            continue
        if not line.startswith(" "):
            inside = ""
        found += [inside + name for name in names]
    return found
