"""The commands of `voxfleet bill`."""

from __future__ import annotations

import typer

from voxfleet_cli.bill import export

app = typer.Typer(name="bill", help="What machine-hours cost, and the proof of it.", no_args_is_help=True)
app.command(
    name="export",
    epilog="Examples: voxfleet bill export --period 2026-11 --format focus-1.2 --out bill.csv --archive file:///ledger"
    " --price-book price-book.yaml; voxfleet bill export --period 2026-11 --format lessor --template acme.yaml"
    f" --lessor acme --out acme.csv --price-book configmap/prices. {export.EPILOG}",
)(export.export)
