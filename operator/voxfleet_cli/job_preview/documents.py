"""The YAML documents of one job: the job, and its contract if a file has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, VoiceContract
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

STANDARD_INPUT = Path("-")
FILE_LIMIT_BYTES = 4 * 2**20


class DocumentError(Exception):
    """The files do not hold one job; the message names the file and says what to write."""


@dataclass(frozen=True, slots=True)
class JobDocuments:
    """As they were written, but for the namespace, which is filled in."""

    job: dict[str, Any]
    contract: dict[str, Any] | None
    """None if it is not among the documents."""

    @property
    def namespace(self) -> str:
        return str(self.job["metadata"]["namespace"])


def read_documents(files: Sequence[Path], namespace: str | None, default_namespace: str) -> JobDocuments:
    """`namespace`: the one that was asked for. Raises DocumentError."""
    found = [document for file in files for document in _documents(file)]
    jobs = [document for document in found if document["kind"] == AudioBatchJob.crd.kind]
    if len(jobs) != 1:
        names = ", ".join(map(str, files))
        raise DocumentError(f"{names}: {len(jobs)} AudioBatchJobs; one is planned at a time, give its file with -f")
    job = _in_namespace(jobs[0], namespace, namespace or default_namespace)
    own, spec = job["metadata"]["namespace"], job.get("spec")
    ref = spec.get("contractRef") if isinstance(spec, dict) else None
    wanted = ref.get("name") if isinstance(ref, dict) else None
    contracts = [
        _in_namespace(document, None, own)
        for document in found
        if document["kind"] == VoiceContract.crd.kind and document["metadata"].get("name") == wanted
    ]
    near = [contract for contract in contracts if contract["metadata"]["namespace"] == own]
    return JobDocuments(job, near[0] if near else None)


def _in_namespace(document: dict[str, Any], asked: str | None, default: str) -> dict[str, Any]:
    metadata = document["metadata"]
    written = metadata.get("namespace")
    if asked is not None and written not in (None, asked):
        name = metadata.get("name")
        raise DocumentError(f"metadata.namespace of {name} is {written}, and -n says {asked}; write one")
    return {**document, "metadata": {**metadata, "namespace": written or default}}


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    """Documents of other API groups are left out, so that a folder's file for `kubectl apply` will do."""
    try:
        contents = list(yaml.safe_load_all(_text(file)))
    except YAML_ERRORS as error:
        raise DocumentError(f"{file}: is not YAML: {yaml_problem(error)}") from error
    for number, content in enumerate(contents, start=1):
        if content is None:
            continue
        if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict) or "kind" not in content:
            raise DocumentError(f"{file}: document {number} is no object; write apiVersion, kind, metadata and spec")
        if content.get("apiVersion") == API_VERSION:
            yield content


def _text(file: Path) -> str:
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(FILE_LIMIT_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            raise DocumentError(f"{file}: is larger than {FILE_LIMIT_BYTES} bytes; clips belong into a manifest")
        return content.decode()
    except OSError as error:
        raise DocumentError(f"{file}: {error.strerror}; give the file of the AudioBatchJob with -f") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file}: is no UTF-8 text") from error
