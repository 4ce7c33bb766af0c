"""Reads the YAML files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voxfleet_agent.local.documents import DocumentError, JobDocuments, Source, read_job

FILE_LIMIT_BYTES = 4 * 2**20


def read_files(files: Sequence[Path]) -> JobDocuments:
    """Raises DocumentError."""
    return read_job([_source(file) for file in files])


def _source(file: Path) -> Source:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            raise DocumentError(f"{file}: is larger than {FILE_LIMIT_BYTES} bytes; clips belong into a manifest")
        return Source(str(file), content.decode())
    except OSError as error:
        raise DocumentError(f"{file}: {error.strerror}; give the file of the AudioBatchJob with -f") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file}: is no UTF-8 text") from error
