"""The commands of `voxfleet bill`."""

from __future__ import annotations

import typer

from voxfleet_cli.bill import sign

app = typer.Typer(name="bill", help="What machine-hours cost, and the proof of it.", no_args_is_help=True)
app.command(name="sign", epilog=f"Example: voxfleet bill sign bill-2026-11.csv --key bill-key. {sign.EPILOG}")(
    sign.sign
)
app.command(
    name="verify-signature",
    epilog=f"Example: voxfleet bill verify-signature bill-2026-11.csv --public-key bill-key.pub. {sign.EPILOG}",
)(sign.verify_signature)
