"""The folders that hold packages are no packages themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["operator", "agent", "crds", "hack"])
def test_package_root_is_no_package(folder: str) -> None:
    """operator/__init__.py would shadow the standard library's operator for anything started at the root."""
    assert not (REPOSITORY / folder / "__init__.py").exists()


def test_test_folders_are_no_packages() -> None:
    assert not list((REPOSITORY / "tests").rglob("__init__.py"))
