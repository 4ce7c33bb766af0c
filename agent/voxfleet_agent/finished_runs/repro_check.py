"""Checks a repro bundle against this machine: its files, model and versions, and its clips' results now. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from voxfleet_agent.finished_runs.comparison import RowPair
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, HubModel, ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import Counts

DTYPE = "dtype"
_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?")


class ModelNotNamed(Exception):
    """The given model is neither a path, an address nor a hub model."""


@dataclass(frozen=True, slots=True)
class VersionDifference:
    name: str
    there: tuple[str, ...]
    """The versions on the bundle's machines."""
    here: str


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What a finished run was set up with."""

    contract: VoiceContractSpec
    task: Task
    model: ModelSource
    transcription: Transcription
    synthesis: Synthesis | None


@dataclass(frozen=True, slots=True)
class ReproCheck:
    files: tuple[str, ...]
    """Problems with the files that the bundle names."""
    model: tuple[str, ...]
    """Problems with the model on this machine; when there are any, no clip was run."""
    versions: tuple[VersionDifference, ...]
    pairs: tuple[RowPair, ...]
    not_verified: str | None = None
    """Why the bundle has no clip to run again, whatever the machine; None: some were run, or no rerun was requested."""

    @property
    def same(self) -> bool:
        return not self.files and not self.model and all(pair.same for pair in self.pairs)


def nothing_to_run_again(bundle: ReproBundle, counts: Counts) -> str | None:
    """Returns why a run has no clip that another run could repeat; None: it has some."""
    outcomes = (
        f"{counts.quarantined} were quarantined, {counts.failed} failed and {counts.not_run} were not run"
        f" of {bundle.total}"
    )
    if not bundle.model_files:
        return (
            f"no clip of this run reached the model, so there is no model to compare and no clip to repeat: {outcomes}"
        )
    if not counts.succeeded:
        return f"no clip of this run has a result that could be repeated: {outcomes}"
    return None


def setup_of(bundle: ReproBundle, model: ModelSource) -> RunSetup:
    return RunSetup(bundle.contract, bundle.task, model, bundle.transcription, bundle.synthesis)


def model_of(bundle: ReproBundle, text: str | None) -> ModelSource:
    """Returns the model that `text` names; without a text, the job's model at the commit of the run.

    Raises ModelNotNamed.
    """
    if text is not None:
        return model_source(text, bundle.model_revision)
    model = bundle.model
    if model is None:
        raise ModelNotNamed("this run names no model because nothing ran; name one with --model")
    if model.hub is None or bundle.model_revision is None:
        return model
    return model.model_copy(update={"hub": HubModel(id=model.hub.id, revision=bundle.model_revision)})


def model_source(text: str, revision: str | None) -> ModelSource:
    """Parses the name of a built-in model, a folder's path, an address, or `owner/name@revision` of the hub.

    `revision`: the revision that the bundle names. Raises ModelNotNamed.
    """
    unclear = ModelNotNamed(
        f"--model {text}: write {', '.join(BuiltinName)}, a folder's path, an address, or owner/name@revision"
    )
    try:
        if text in list(BuiltinName):
            return ModelSource(builtin=BuiltinModel(name=BuiltinName(text)))
        if text.startswith("/"):
            return ModelSource(path=text)
        if text.startswith(("file:///", "s3://", "https://")):
            return ModelSource(uri=f"{text.rstrip('/')}/")
        match = _HUB.fullmatch(text)
        wanted = (match[2] or revision) if match is not None else None
        if match is None or wanted is None:
            raise unclear
        return ModelSource(hub=HubModel(id=match[1], revision=wanted))
    except ValidationError as error:
        raise unclear from error


def model_differences(bundle: ReproBundle, files: Mapping[str, str]) -> list[str]:
    """Returns one line for each model file whose bytes differ from those of the run."""
    problems = []
    for name in sorted(bundle.model_files.keys() | files.keys()):
        if name not in files:
            problems.append(f"{name}: is missing here")
        elif name not in bundle.model_files:
            problems.append(f"{name}: is not in the bundle")
        elif files[name] != bundle.model_files[name]:
            problems.append(f"{name}: has sha256 {files[name][:12]}…, the bundle {bundle.model_files[name][:12]}…")
    return problems


def version_differences(bundle: ReproBundle, here: Mapping[str, str]) -> list[VersionDifference]:
    """Returns the packages, chip, OS and type of number that differ from the bundle's machines.

    `here`: this machine's, by name. The type of number is known only of runs that reached a model, here and there.
    """
    there: dict[str, set[str]] = {}
    for setting in bundle.settings:
        facts = {**setting.versions, "chip": setting.chip, "os": setting.os, "blas": setting.blas}
        if setting.dtype is not None and DTYPE in here:
            facts[DTYPE] = setting.dtype
        for name, version in facts.items():
            there.setdefault(name, set()).add(version)
    if DTYPE not in there:
        here = {name: version for name, version in here.items() if name != DTYPE}
    return [
        VersionDifference(name, tuple(sorted(there.get(name, ()))), here.get(name, "missing"))
        for name in sorted(there.keys() | here.keys())
        if there.get(name, set()) != {here.get(name, "missing")}
    ]


def changed_files(bundle: ReproBundle, sha256s: Mapping[str, str | None]) -> list[str]:
    """Returns one line for each file of the bundle that is missing or changed.

    `sha256s`: the digests of the files that exist, None for a missing one.
    """
    return [
        f"{file.path}: {'is missing' if sha256s.get(file.path) is None else 'was changed'}"
        for file in bundle.files
        if sha256s.get(file.path) != file.sha256
    ]
