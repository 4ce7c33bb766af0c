"""What a Mac opens to a namespace, and whether a job may run there. Pure.

Placement asks about the addresses that the job names. Those in a manifest are known to the agent alone, so the
prefixes travel with each attempt, and an agent that does not keep to them gets no job with a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.machine_messages import Capability, MachineFacts


class Opened(NamedTuple):
    """The prefixes that a Mac's rules open to a namespace, each once."""

    prefixes: tuple[str, ...]
    """To its jobs with one billing key."""
    whatever_key: tuple[str, ...]
    """To its jobs with any billing key."""


def opened(access: Iterable[Access], namespace_labels: Mapping[str, str], billing_key: str | None) -> Opened:
    matching = [rule for rule in access if rule.namespace_selector.matches(namespace_labels)]
    return Opened(_prefixes(rule for rule in matching if rule.takes(billing_key)), _prefixes(matching))


def _prefixes(rules: Iterable[Access]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(prefix for rule in rules for prefix in rule.uri_prefixes))


def covers(prefixes: tuple[str, ...], uris: Iterable[str]) -> bool:
    """Whether every address lies below one of the prefixes. Without a prefix, nothing is covered."""
    return bool(prefixes) and all(_is_plain(uri) and uri.startswith(prefixes) for uri in uris)


def addresses_of(job: AudioBatchJob) -> tuple[str, ...]:
    """All addresses that the job names, and the output folder of the job whose clips it runs again."""
    source = job.status.source
    return job.spec.uris() if source is None else (*job.spec.uris(), f"{source.folder}/")


def names_clips_elsewhere(spec: AudioBatchJobSpec) -> bool:
    """Whether the job reads addresses that only its agent sees."""
    return spec.source is not None or (spec.input is not None and spec.input.manifest is not None)


def chooses_clips(spec: AudioBatchJobSpec) -> bool:
    """Whether the job's files say where its clips were chosen, which an old agent does not understand."""
    return spec.source is not None or spec.only is not None


def knows_chosen_clips(machine: MachineFacts | None) -> bool:
    return machine is not None and Capability.CHOSEN_CLIPS in machine.capabilities


def keeps_within_prefixes(machine: MachineFacts | None) -> bool:
    return machine is not None and Capability.NAMESPACE_ACCESS in machine.capabilities


def access_lost(job: AudioBatchJob, prefixes: tuple[str, ...], machine: MachineFacts | None) -> str | None:
    """Why an attempt that was assigned to the Mac must not start there any more; None if it may."""
    if not covers(prefixes, addresses_of(job)):
        return "the Mac no longer opens the job's addresses to its namespace and billing key (spec.access of MacAgent)"
    if names_clips_elsewhere(job.spec) and not keeps_within_prefixes(machine):
        return "the Mac's agent is too old to keep the clips of a manifest within spec.access; upgrade it"
    if chooses_clips(job.spec) and not knows_chosen_clips(machine):
        return "the Mac's agent is too old for spec.only and spec.source; upgrade it"
    return None


def _is_plain(uri: str) -> bool:
    """Whether the address has no `.` or `..`, which could lead out of a prefix."""
    return "/." not in uri or not {".", ".."} & set(uri.partition("://")[2].split("/"))
