"""The commands of `voxfleet bill`."""

from __future__ import annotations

import typer

from voxfleet_cli.bill import burndown, dispute, export, nightly, reconcile, show, sign, verify
from voxfleet_cli.bill.inputs import EPILOG

app = typer.Typer(name="bill", help="What machine-hours cost, and the proof of it.", no_args_is_help=True)
app.command(
    name="show",
    epilog="Examples: voxfleet bill show; voxfleet bill show --period 2026-11 --by team --archive s3://ledger/"
    f" --price-book price-book.yaml --chart. {EPILOG}",
)(show.show)
app.command(
    name="export",
    epilog="Examples: voxfleet bill export --period 2026-11 --format focus-1.2 --out bill.csv --archive file:///ledger"
    " --price-book price-book.yaml; voxfleet bill export --period 2026-11 --format lessor --template acme.yaml"
    f" --lessor acme --out acme.csv --price-book configmap/prices. {export.EPILOG}",
)(export.export)
app.command(
    name="verify",
    epilog="Examples: voxfleet bill verify --archive s3://ledger/ --period 2026-11; voxfleet bill verify --archive"
    f" file:///ledger --offline --public-key macs.keys -o json. {EPILOG}",
)(verify.verify)
app.command(
    name="reconcile",
    epilog="Examples: voxfleet bill reconcile --period 2026-11 --archive s3://ledger/; voxfleet bill reconcile"
    " --period 2026-11 --archive s3://ledger/ --price-book price-book.yaml --csv acme.csv --mapping acme-columns.yaml"
    f" --lessor acme --out differences.csv. {EPILOG}",
)(reconcile.reconcile)
app.command(
    name="burndown",
    epilog="Example: voxfleet bill burndown --period 2026-11 --billing-key team-speech --archive s3://ledger/"
    f" --price-book price-book.yaml --plot --csv burndown.csv. {EPILOG}",
)(burndown.burndown)
app.command(
    name="nightly",
    epilog="Examples: voxfleet bill nightly --archive s3://ledger/; voxfleet bill nightly --night 2026-11-29 --archive"
    f" file:///ledger --out night.csv. {EPILOG}",
)(nightly.nightly)
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
