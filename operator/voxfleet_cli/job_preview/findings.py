"""Reads from the cluster what a job's preview is made of. Nothing is written: the API server only checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, MacAgent, MachineHourStatement, VoiceContract
from voxfleet_billing.budget_use import month_of
from voxfleet_billing.price_book import PriceBook
from voxfleet_cli.job_preview.documents import JobDocuments
from voxfleet_cli.job_preview.preview import JobFindings
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import AlreadyExists, Forbidden, Invalid, NotFound
from voxfleet_operator.kube_objects import Unreadable, parse
from voxfleet_operator.metering.month_use import counted_milliseconds


async def find_out(
    kube: Kube, documents: JobDocuments, audio_milliseconds: int | None, book: PriceBook | None, now: datetime
) -> JobFindings:
    """Raises a KubeError where the API server gives no answer at all."""
    namespace, name = documents.namespace, str(documents.job["metadata"].get("name", ""))
    notes: list[str] = []
    contract = await _contract(kube, documents)
    job, problems = await _job(kube, documents)
    try:
        labels = await kube.namespace_labels(namespace)
    except (Forbidden, NotFound):
        labels = None
        notes.append(f"the labels of namespace {namespace}, which cannot be read: access rules are taken as matching")
    try:
        macs = (await kube.list(MacAgent))[0]
    except Forbidden:
        macs = None
        notes.append("the Macs: this user may not list MacAgents")
    used = None
    if book is not None and book.budgets:
        try:
            used = counted_milliseconds((await kube.list(MachineHourStatement))[0], month_of(now))
        except Forbidden:
            notes.append("what budgets have used: this user may not list MachineHourStatements")
    jobs, _ = await kube.list(AudioBatchJob, namespace)
    return JobFindings(
        job=job,
        name=name,
        namespace=namespace,
        now=now,
        problems=(*problems, *contract.problems),
        contract=contract.where,
        contract_digest=contract.digest,
        macs=macs,
        labels=labels,
        jobs=[other for other in jobs if other.metadata.name != name],
        audio_milliseconds=audio_milliseconds,
        price_book=book,
        used=used,
        notes=tuple(notes),
    )


async def _job(kube: Kube, documents: JobDocuments) -> tuple[AudioBatchJob | None, tuple[str, ...]]:
    """The job as the API server would store it, and why it would not."""
    problems: tuple[str, ...] = ()
    content = documents.job
    try:
        content = await kube.check(documents.job)
    except AlreadyExists:
        name = documents.job["metadata"]["name"]
        problems = (f"a job {name} exists already, and a job runs once; choose another metadata.name",)
    except Forbidden as error:
        problems = (f"this user may not create it: {error}",)
    except NotFound as error:
        if "namespaces" not in str(error).partition("HTTP")[2]:
            raise  # the kind itself is not there
        problems = (f"namespace {documents.namespace} does not exist; create it",)
    except Invalid as error:
        problems = (str(error),)
    try:
        return AudioBatchJob.load(content), problems
    except ValidationError:
        return None, problems or ("it cannot be read; is the CRD of the cluster newer than this command?",)


@dataclass(frozen=True, slots=True)
class _FoundContract:
    where: str | None
    digest: str | None = None
    problems: tuple[str, ...] = ()


async def _contract(kube: Kube, documents: JobDocuments) -> _FoundContract:
    spec = documents.job.get("spec")
    ref = spec.get("contractRef") if isinstance(spec, dict) else None
    name = str(ref.get("name", "")) if isinstance(ref, dict) else ""
    if not name:
        return _FoundContract(None)
    stored = await _stored(kube, documents.namespace, name)
    if documents.contract is None:
        if stored is None:
            missing = f"VoiceContract {name} does not exist in namespace {documents.namespace}; apply it with the job"
            return _FoundContract(None, problems=(missing,))
        return _FoundContract(f"{name}, in the cluster", digest_of(stored.spec))
    try:
        written = parse(VoiceContract, await kube.check(documents.contract))
    except AlreadyExists:
        written = VoiceContract.load(documents.contract)
    except (Invalid, Forbidden, NotFound, Unreadable) as error:
        return _FoundContract(f"{name}, in the file", problems=(f"VoiceContract {name}: {error}",))
    digest = digest_of(written.spec.in_full())
    if stored is None:
        return _FoundContract(f"{name}, in the file", digest)
    if digest_of(stored.spec.in_full()) == digest:
        return _FoundContract(f"{name}, in the cluster", digest_of(stored.spec))
    other = "; the cluster has another one of this name, so apply the file first"
    return _FoundContract(f"{name}, in the file{other}", digest)


async def _stored(kube: Kube, namespace: str, name: str) -> VoiceContract | None:
    try:
        return await kube.get(VoiceContract, namespace, name)
    except Forbidden:
        return None
