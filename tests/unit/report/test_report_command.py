"""`voxfleet report`: what it refuses before it asks anybody."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from voxfleet_cli.command_line import Exit
from voxfleet_cli.main import app


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nightly", "--period", "2026-11"], "name either a job or --period"),
        (["nightly", "--price-book", "prices.yaml"], "name --archive, too"),
        (["--period", "2026-13"], "write a month, such as 2026-11"),
    ],
)
def test_what_does_not_go_together_is_named(words: list[str], told: str) -> None:
    found = CliRunner().invoke(app, ["report", *words], env={"VOXFLEET_ARCHIVE": ""})
    assert found.exit_code == Exit.USAGE and told in found.output
