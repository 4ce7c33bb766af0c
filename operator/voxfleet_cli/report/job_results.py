"""Reads report.json out of a job's results, verified by the sha256 in the job's status."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from voxfleet_api.base import ApiModel
from voxfleet_api.digest import sha256_hex
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.results import INDEX_NAME, REPORT_DATA_NAME, REPORT_NAME, ResultIndex
from voxfleet_cli.command_line import Refused
from voxfleet_cli.names import NoSuchObject
from voxfleet_report.job_report import JobReport

LARGEST_BYTES = 64 * 2**20
T = TypeVar("T", bound=ApiModel)


def read_report(job: AudioBatchJob) -> JobReport:
    """Raises NoSuchObject while there are no results, and Refused when they are changed or out of reach."""
    results, name = job.status.results, job.metadata.name
    if results is None:
        raise NoSuchObject(f"job {name} has no results yet; voxfleet why {name} says where it stands")
    folder = results.uri.removesuffix(f"/{INDEX_NAME}")
    if urlsplit(results.uri).scheme != "file":
        raise Refused(
            f"the results lie at {folder}, which this command does not read; fetch {folder}/{REPORT_NAME} with your"
            " storage's own client, or fetch the folder and name it with --results"
        )
    return read_folder(Path(unquote(urlsplit(folder).path)), results.sha256)


def read_folder(folder: Path, index_sha256: str) -> JobReport:
    """`folder`: the job's own, or a copy of it. Raises Refused."""
    index = _parsed(ResultIndex, folder / INDEX_NAME, _read(folder / INDEX_NAME, index_sha256))
    sha256 = next((file.sha256 for file in index.files if file.path == REPORT_DATA_NAME), None)
    if sha256 is None:
        raise Refused(f"{folder} has no {REPORT_DATA_NAME}: an agent that makes no reports merged the results")
    return _parsed(JobReport, folder / REPORT_DATA_NAME, _read(folder / REPORT_DATA_NAME, sha256))


def _read(file: Path, sha256: str) -> bytes:
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise Refused(f"{file} is larger than anything that Finalize writes there")
        content = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file} cannot be read here: {error.strerror}; run this where the output is mounted") from error
    if sha256_hex(content) != sha256:
        raise Refused(f"{file} was changed: it has another sha256 than the job's status and its index.json say")
    return content


def _parsed(kind: type[T], file: Path, content: bytes) -> T:
    try:
        return kind.load_json(content)
    except ValidationError as error:
        raise Refused(f"{file} is of a later version; use a newer voxfleet") from error
