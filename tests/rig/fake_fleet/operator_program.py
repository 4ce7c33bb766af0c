"""The operator as a program of its own, which reaches fake Macs without SSH; everything else is the product's.

python -m tests.rig.fake_fleet.operator_program NAMESPACE [PROGRESS_INTERVAL_SECONDS]
"""

from __future__ import annotations

import sys

from tests.rig.fake_fleet.dialer import LoopbackDialer

from voxfleet_operator.logs import LogFormat, configure
from voxfleet_operator.main import run
from voxfleet_operator.options import OperatorOptions


def main() -> int:
    namespace, *interval = sys.argv[1:]
    options = OperatorOptions(namespace=namespace)
    if interval:
        options = OperatorOptions(namespace=namespace, progress_interval_seconds=float(interval[0]))
    configure(LogFormat.JSON)
    return run(options, LoopbackDialer)


if __name__ == "__main__":
    sys.exit(main())
