"""The operator as a program of its own, which reaches fake Macs without SSH; everything else is the product's.

python -m tests.rig.fake_fleet.operator_program NAMESPACE [--progress-interval-seconds N] [--archive URI]
"""

from __future__ import annotations

import argparse
import sys

from tests.rig.fake_fleet.dialer import LoopbackDialer

from voxfleet_operator.logs import LogFormat, configure
from voxfleet_operator.main import run
from voxfleet_operator.options import OperatorOptions

DEFAULTS = OperatorOptions(namespace="")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    parser.add_argument("--progress-interval-seconds", type=float, default=DEFAULTS.progress_interval_seconds)
    parser.add_argument("--archive")
    options = OperatorOptions(**vars(parser.parse_args()))
    configure(LogFormat.JSON)
    return run(options, LoopbackDialer)


if __name__ == "__main__":
    sys.exit(main())
