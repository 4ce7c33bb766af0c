"""Checks whether this agent can run a spec at all: its digests, fields and addresses, and this machine's runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.base import SpecModel
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptRequest, Problem

S = TypeVar("S", bound=SpecModel)
OpenStorage = Callable[[None, Sequence[str] | None], Storage]
"""Takes no credentials, and the prefixes that are open to the job's namespace."""


def check_spec(
    request: AttemptRequest, key: AttemptKey, machine: LocalMachine, open_storage: OpenStorage
) -> AttemptSpec | Problem:
    """Returns the parsed spec, or the problem with it."""
    try:
        spec = _parse(request, key, machine)
        _require_bounds(spec, request.uri_prefixes)
        storage = open_storage(None, request.uri_prefixes)
        for address in _addresses(spec):
            storage.check(address)
        return spec
    except VoxFleetError as error:
        return Problem(failure_class=error.failure_class, message=error.message)


def _parse(request: AttemptRequest, key: AttemptKey, machine: LocalMachine) -> AttemptSpec:
    spec = understood(AttemptSpec, request.spec, request.spec_digest)
    require_digest("contractDigest", request.spec.get("contract"), spec.contract_digest)
    if (spec.shard_uid, spec.attempt) != key:
        raise disagreement(f"the spec is of attempt {spec.shard_uid}/{spec.attempt}, the path says {key}")
    stage_specs = {Stage.PLAN: spec.plan, Stage.PROCESS: spec.process, Stage.FINALIZE: spec.finalize}
    if [stage for stage, stage_spec in stage_specs.items() if stage_spec is not None] != [spec.stage]:
        raise disagreement(f"a spec of stage {spec.stage} carries its own order, no other")
    if spec.stage is Stage.PROCESS and not machine.runtime_compatible:
        raise VoxFleetError(FailureClass.RUNTIME_MISMATCH, f"{machine.runtime_message}; reinstall voxfleet[agent]")
    return spec


def _require_bounds(spec: AttemptSpec, uri_prefixes: Sequence[str] | None) -> None:
    """Raises VoxFleetError when nothing bounds the clips.

    An operator that says nothing about the namespace has looked at the addresses that the job itself names, but
    nobody has looked at those in a manifest.
    """
    plan = spec.plan
    if plan is None or uri_prefixes is not None:
        return
    if plan.source is not None or (plan.input is not None and plan.input.manifest is not None):
        raise VoxFleetError(
            FailureClass.RUNTIME_MISMATCH,
            "the operator does not say what this namespace may read, which must bound the clips that a manifest names;"
            " upgrade the operator",
        )


def _addresses(spec: AttemptSpec) -> list[str]:
    """Returns the addresses that the spec itself names; a manifest's clips are checked when they are read."""
    stage_spec = spec.plan or spec.process
    plan_input = None if spec.plan is None else spec.plan.input
    source = None if spec.plan is None else spec.plan.source
    reference = spec.synthesis.reference if spec.synthesis is not None else None
    return [
        f"{spec.output_folder}/",
        *(plan_input.uris() if plan_input is not None else ()),
        *([f"{source.folder}/"] if source is not None else ()),
        *([stage_spec.model.uri] if stage_spec is not None and stage_spec.model.uri is not None else ()),
        *([reference.uri] if reference is not None else ()),
    ]


def understood(kind: type[S], sent: dict[str, object], digest: str) -> S:
    """Parses a spec strictly, after its digest has proven right. Raises VoxFleetError(RUNTIME_MISMATCH)."""
    require_digest("specDigest", sent, digest)
    try:
        return kind.load(sent)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
        raise VoxFleetError(
            FailureClass.RUNTIME_MISMATCH,
            f"this agent does not understand the spec ({wrong}); upgrade this Mac to the operator's version",
        ) from error


def require_digest(field: str, content: object, expected: str) -> None:
    try:
        actual = digest_of(content)
    except UnicodeEncodeError as error:
        raise disagreement(f"{field}: what came is not UTF-8") from error
    except TypeError as error:
        raise VoxFleetError(FailureClass.RUNTIME_MISMATCH, f"{field}: {error}") from error
    if actual != expected:
        raise disagreement(f"{field} is {expected}, but what came has {actual}")


def disagreement(what: str) -> VoxFleetError:
    """Of what only an operator of another version sends; the job is not to blame, and another Mac may understand it."""
    return VoxFleetError(
        FailureClass.RUNTIME_MISMATCH,
        f"{what}; operator and agent disagree: upgrade this Mac to the operator's version",
    )
