"""`python -m voxfleet_models FAMILY FOLDER [--seed N]`, with hack on the path."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxfleet_models import FAMILIES, make_model


def main() -> None:
    parser = argparse.ArgumentParser(prog="voxfleet_models", description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(make_model(arguments.family, arguments.folder, arguments.seed))


main()
