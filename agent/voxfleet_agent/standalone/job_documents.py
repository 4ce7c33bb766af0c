"""The YAML documents of a run: one AudioBatchJob and its VoiceContract, as strict as the API server. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from voxfleet_agent.standalone.cel_rules import violations
from voxfleet_agent.standalone.fleet_fields import refusals
from voxfleet_agent.yaml_validation import aliases, field_name, nearest
from voxfleet_agent.yaml_validation import problems as field_problems
from voxfleet_api import API_VERSION, GROUP
from voxfleet_api.kinds import KINDS, AudioBatchJob, Resource, VoiceContract
from voxfleet_api.kinds.resource import ObjectMeta
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

DEFAULT_NAMESPACE = "default"
MAX_JOB_NAME = 52

_TOP = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_METADATA = frozenset(aliases(ObjectMeta)) | {
    "annotations",
    "deletionGracePeriodSeconds",
    "generateName",
    "managedFields",
    "selfLink",
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9-]{8,64}")

R = TypeVar("R", bound=Resource)


class DocumentError(Exception):
    """The documents cannot be run. The message names file, document and field and says what to write."""


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """The name and content of one file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class JobDocuments:
    job: AudioBatchJob
    """Its namespace is filled in."""
    contract: VoiceContract


@dataclass(frozen=True, slots=True)
class _Document:
    where: str
    """The file, number and kind of the document, for messages."""
    kind: str
    content: dict[str, object]


def read_job(files: Sequence[DocumentFile]) -> JobDocuments:
    """Returns the only job of these files and the contract that it names.

    Ignores documents of other API groups, so that a folder for `kubectl apply -f` may hold them. Raises DocumentError
    with every problem of the job and its contract.
    """
    documents = [document for file in files for document in _documents(file)]
    jobs = [document for document in documents if document.kind == AudioBatchJob.crd.kind]
    if len(jobs) != 1:
        where = "; ".join(document.where for document in jobs) or ", ".join(file.name for file in files)
        count = "has no AudioBatchJob" if not jobs else f"{len(jobs)} AudioBatchJobs"
        raise DocumentError(f"{where}: {count}; a run takes exactly one, give its file with -f")
    job = _parse(jobs[0], AudioBatchJob)
    if problems := [*refusals(job.spec)]:
        raise _refused(jobs[0], problems)
    return JobDocuments(job, _contract(documents, jobs[0], job))


def _contract(documents: Sequence[_Document], job_document: _Document, job: AudioBatchJob) -> VoiceContract:
    wanted = job.spec.contract_ref.name
    contracts = [document for document in documents if document.kind == VoiceContract.crd.kind]
    named = [document for document in contracts if _metadata(document, "name") == wanted]
    near = [document for document in named if _metadata(document, "namespace", job.metadata.namespace) == _space(job)]
    if len(near) == 1:
        return _parse(near[0], VoiceContract, _space(job))
    if near:
        raise DocumentError(f"{near[1].where}: the contract {wanted} stands already in {near[0].where}; write it once")
    if named:
        raise DocumentError(
            f"{named[0].where}: metadata.namespace: the contract lies in {_metadata(named[0], 'namespace')}, the job in"
            f" {_space(job)}; a job uses contracts of its own namespace"
        )
    others = ", ".join(sorted(str(_metadata(document, "name")) for document in contracts)) or "none"
    raise DocumentError(
        f"{job_document.where}: spec.contractRef.name: the VoiceContract {wanted} is not among the documents (found:"
        f" {others}); give its file with another -f"
    )


def _space(job: AudioBatchJob) -> str:
    return job.metadata.namespace


def _metadata(document: _Document, name: str, default: object = None) -> object:
    metadata = document.content.get("metadata")
    return metadata.get(name, default) if isinstance(metadata, dict) else default


def _documents(file: DocumentFile) -> Iterator[_Document]:
    for number, content in enumerate(_contents(file), start=1):
        if content is not None:
            yield from _document(file.name, number, content)


def _contents(file: DocumentFile) -> Iterator[object]:
    number = 0
    try:
        for content in yaml.load_all(file.text, Loader=_Loader):
            number += 1
            yield content
    except YAML_ERRORS as error:
        raise DocumentError(f"{file.name}: document {number + 1}: not YAML: {yaml_problem(error)}") from error


def _document(file: str, number: int, content: object) -> Iterator[_Document]:
    where = f"{file}: document {number}"
    if not isinstance(content, dict):
        raise DocumentError(f"{where}: is no object; write apiVersion, kind, metadata and spec")
    kind, version = content.get("kind"), content.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        missing = "kind" if not isinstance(kind, str) else "apiVersion"
        raise DocumentError(
            f"{where}: {missing}: is missing; write apiVersion: {API_VERSION} and a kind such as AudioBatchJob"
        )
    where = f"{where} ({kind})"
    if kind == "List" and version == "v1":
        items = content.get("items") or ()
        if not isinstance(items, list):
            raise DocumentError(f"{where}: items: is no list; write the objects below it, each after a dash")
        for item in items:
            yield from _document(file, number, item)
        return
    if version.partition("/")[0] != GROUP:
        return
    if version != API_VERSION:
        raise DocumentError(f"{where}: apiVersion: {version} is not known here; write {API_VERSION}")
    kinds = [known.crd.kind for known in KINDS]
    if kind not in kinds:
        raise DocumentError(f"{where}: kind: is not known; {nearest(kind, kinds)}")
    yield _Document(where, kind, content)


def _parse(document: _Document, resource: type[R], namespace: str = DEFAULT_NAMESPACE) -> R:
    content = {name: value for name, value in document.content.items() if name in ("metadata", "spec")}
    problems = [*_unknown(document), *_wrong_metadata(document, resource), *_no_json(content, ())]
    try:
        # Validates the JSON form, which, like the API server, accepts neither 5 for "5" nor snake_case.
        text = json.dumps(content, default=str)
        parsed = resource.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _refused(document, [*problems, *field_problems(resource, error.errors())]) from error
    problems += violations(parsed.spec, "spec")  # type: ignore[attr-defined] # every kind has a spec
    if problems:
        raise _refused(document, problems)
    if parsed.metadata.namespace:
        return parsed
    metadata = parsed.metadata.model_copy(update={"namespace": namespace})
    return parsed.model_copy(update={"metadata": metadata})


def _refused(document: _Document, problems: Sequence[str]) -> DocumentError:
    unique = list(dict.fromkeys(problems))
    return DocumentError("\n".join(f"{document.where}: {problem}" for problem in unique))


def _unknown(document: _Document) -> Iterator[str]:
    for name in document.content:
        if name not in _TOP:
            yield f"{name}: unknown field; {nearest(str(name), _TOP)}"
    metadata = document.content.get("metadata")
    for name in metadata if isinstance(metadata, dict) else ():
        if name not in _METADATA:
            yield f"metadata.{name}: unknown field; {nearest(str(name), _METADATA)}"


def _no_json(value: object, location: tuple[int | str, ...]) -> Iterator[str]:
    """Names the bare words that YAML reads as dates or fractions; the API has neither."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _no_json(item, (*location, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _no_json(item, (*location, number))
    elif value is not None and not isinstance(value, str | bool | int):
        yield f"{field_name(location)}: YAML reads this as a {type(value).__name__}; put it into quotes"


def _wrong_metadata(document: _Document, resource: type[Resource]) -> Iterator[str]:
    """Rejects the names that the API server would refuse: names become folders."""
    name, namespace = _metadata(document, "name"), _metadata(document, "namespace", DEFAULT_NAMESPACE)
    limit = MAX_JOB_NAME if resource is AudioBatchJob else 253
    if isinstance(name, str) and (len(name) > limit or not _NAME.fullmatch(name)):
        yield f"metadata.name: write at most {limit} small letters, digits and dashes, such as nightly-2026-11-20"
    if isinstance(namespace, str) and not _LABEL.fullmatch(namespace):
        yield "metadata.namespace: write at most 63 small letters, digits and dashes, such as speech"
    uid = _metadata(document, "uid", "")
    if uid and not (isinstance(uid, str) and _UID.fullmatch(uid)):
        yield "metadata.uid: is no UID; leave it out"


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice in one mapping: PyYAML would silently drop one of the two."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if isinstance(key_node, yaml.ScalarNode):
            key = (key_node.tag, key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value} stands twice in one object", key_node.start_mark
                )
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=deep)


def _construct(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[object, object]]:
    content: dict[object, object] = {}
    yield content
    content.update(_mapping(loader, node))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct)

FILE_LIMIT_BYTES = 4 * 2**20


def read_files(files: Sequence[Path]) -> JobDocuments:
    """Raises DocumentError."""
    return read_job([_read_file(file) for file in files])


def _read_file(file: Path) -> DocumentFile:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            raise DocumentError(f"{file}: is larger than {FILE_LIMIT_BYTES} bytes; clips belong into a manifest")
        return DocumentFile(str(file), content.decode())
    except OSError as error:
        raise DocumentError(f"{file}: {error.strerror}; give the file of the AudioBatchJob with -f") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file}: is no UTF-8 text") from error
