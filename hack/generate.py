"""Writes crds/*.yaml, the chart's copies of them, docs/reference/*.md and parts of gitops/.

All follows from crds/voxfleet_api, and from what both sides list.

python hack/generate.py            write what differs
python hack/generate.py --check    write nothing; exit 1 and name what differs
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from voxfleet_api.kinds import KINDS
from voxfleet_generate.chart import FOLDER as CHART_CRDS
from voxfleet_generate.chart import crd_template, crd_template_path
from voxfleet_generate.crds import NOTE, crd_file_name, crd_yaml, kustomization_yaml
from voxfleet_generate.exit_codes import exit_codes_page
from voxfleet_generate.gitops import argo_cd_files, flux_files
from voxfleet_generate.kustomize import REFERENCES, references_yaml
from voxfleet_generate.operations import conditions_page, events_page, metrics_page
from voxfleet_generate.reference import api_page, failures_page
from voxfleet_generate.settings import settings_page

ROOT = Path(__file__).resolve().parent.parent


def outputs() -> dict[str, str]:
    """Returns the generated content by path below the repository's root. Raises NotStructural naming the field."""
    return {
        **{f"crds/{crd_file_name(kind)}": crd_yaml(kind) for kind in KINDS},
        "crds/kustomization.yaml": kustomization_yaml(KINDS),
        **{crd_template_path(kind): crd_template(kind) for kind in KINDS},
        "docs/reference/api.md": api_page(KINDS),
        "docs/reference/conditions.md": conditions_page(),
        "docs/reference/events.md": events_page(),
        "docs/reference/exit-codes.md": exit_codes_page(),
        "docs/reference/failures.md": failures_page(),
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/settings.md": settings_page(),
        **argo_cd_files(KINDS),
        **flux_files(KINDS),
        REFERENCES: references_yaml(KINDS),
    }


def differing(root: Path, wanted: dict[str, str]) -> list[str]:
    """Returns the paths whose file is missing, differs, or is left over from a kind that no longer exists."""
    changed = [path for path, text in wanted.items() if _read(root / path) != text]
    leftovers = [
        f"{folder}/{file.name}"
        for folder in ("crds", CHART_CRDS)
        for file in (root / folder).glob("*.yaml")
        if f"{folder}/{file.name}" not in wanted and NOTE in file.read_text()
    ]
    return sorted(changed + leftovers)


def write(root: Path, wanted: dict[str, str]) -> list[str]:
    """Writes the differing files and removes leftovers; returns the changed paths."""
    changed = differing(root, wanted)
    for path in changed:
        if path not in wanted:
            (root / path).unlink()
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path])
    return changed


def _read(file: Path) -> str | None:
    return file.read_text() if file.exists() else None


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what differs")
    check = parser.parse_args(arguments).check
    wanted = outputs()
    changed = differing(root, wanted) if check else write(root, wanted)
    for path in changed:
        print(f"{'differs, run make generate' if check else 'written'}: {path}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
