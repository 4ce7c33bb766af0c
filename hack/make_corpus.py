"""Write a corpus of malformed, hostile and odd files, and the verdict that the agent must reach on each of them.

    .venv/bin/python hack/make_corpus.py DIR

DIR gets input/manifest.jsonl (usable as a job's input), input/clips/, expected.jsonl and contract.yaml. It must
either not exist or be empty. Needs ffmpeg; the same version writes the same bytes again. The files are never committed:
among them are pipes, devices, links and 4 GiB sparse files.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from make_clips import ClipToolError
from voxfleet_corpus.case import CONTRACT
from voxfleet_corpus.folder import write_corpus


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the corpus of malformed, hostile and odd files.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where it goes; must not exist or be empty")
    folder: Path = parser.parse_args(arguments).folder
    if folder.exists() and any(folder.iterdir()):
        print(f"make_corpus: {folder} is not empty: name another folder, or remove it", file=sys.stderr)
        return 1
    try:
        expected, left_out = write_corpus(folder)
    except ClipToolError as error:
        print(f"make_corpus: {error}", file=sys.stderr)
        return 1
    contract = {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": "VoiceContract",
        "metadata": {"name": "corpus"},
        "spec": CONTRACT.dump(),
    }
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False), encoding="utf-8")
    verdicts = Counter(row.verdict.value for row in expected)
    print(f"wrote {len(expected)} files to {folder}: {', '.join(f'{n} {v}' for v, n in sorted(verdicts.items()))}")
    for reason in left_out:
        print(f"make_corpus: left out {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
