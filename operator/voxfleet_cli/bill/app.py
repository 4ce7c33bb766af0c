"""The commands of `voxfleet bill`."""

from __future__ import annotations

import typer

from voxfleet_cli.bill import dispute, sign, verify
from voxfleet_cli.bill.inputs import EPILOG

app = typer.Typer(name="bill", help="What machine-hours cost, and the proof of it.", no_args_is_help=True)
app.command(
    name="verify",
    epilog="Examples: voxfleet bill verify --archive s3://ledger/ --period 2026-11; voxfleet bill verify --archive"
    f" file:///ledger --offline --public-key macs.keys -o json. {EPILOG}",
)(verify.verify)
app.command(
    name="dispute",
    epilog="Example: voxfleet bill dispute 6f0c2a1e#1041 --archive s3://ledger/ --price-book price-book.yaml."
    f" {EPILOG}",
)(dispute.dispute)
app.command(name="sign", epilog=f"Example: voxfleet bill sign bill-2026-11.csv --key bill-key. {sign.EPILOG}")(
    sign.sign
)
app.command(
    name="verify-signature",
    epilog=f"Example: voxfleet bill verify-signature bill-2026-11.csv --public-key bill-key.pub. {sign.EPILOG}",
)(sign.verify_signature)
