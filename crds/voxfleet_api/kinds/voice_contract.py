"""VoiceContract: what audio is accepted, which conversions are declared, and what failures may cost."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import Digest, ObservedGeneration, StatusModel, cel, validations
from voxfleet_api.conditions import Conditions
from voxfleet_api.kinds.contract_input import ContractInput, Conversions
from voxfleet_api.kinds.contract_limits import (
    Batching,
    Buffer,
    Completeness,
    FailureBudget,
    Quarantine,
    Retries,
    ScratchLimit,
    Slo,
)
from voxfleet_api.kinds.contract_output import ContractOutput
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, PrinterColumn, Resource
from voxfleet_api.stored_form import StoredForm


class VoiceContractSpec(
    StoredForm,
    json_schema_extra=validations(
        cel(
            # A status copies this spec without the defaults of absent fields.
            "!has(self.slo) || !has(self.slo.offlineTailP95) || (has(self.batching) && has(self.batching.ladder))",
            "offlineTailP95 bounds a ladder; write batching.ladder too",
            field_path=".slo.offlineTailP95",
        ),
    ),
):
    """The audio requirements. A job copies them when it is accepted; a later edit never reaches a running job."""

    input: Annotated[ContractInput, Field(description="The audio that is accepted.")]
    conversions: Annotated[
        Conversions, Field(description="Conversions that may happen; an absent one is forbidden.")
    ] = Conversions()
    output: Annotated[ContractOutput, Field(description="What results look like.")] = ContractOutput()
    buffer: Annotated[Buffer, Field(description="The ring of decoded audio.")] = Buffer()
    batching: Annotated[Batching, Field(description="How many clips the model works on at once.")] = Batching()
    retries: Annotated[Retries, Field(description="What is tried again, and how often.")] = Retries()
    quarantine: Annotated[
        Quarantine, Field(description="Limits beyond which a job with quarantined clips counts as failed.")
    ] = Quarantine()
    failure_budget: Annotated[FailureBudget, Field(description="What one Mac may spend on a job's failures.")] = (
        FailureBudget()
    )
    completeness: Annotated[Completeness, Field(description="When a transcript does not fit what is heard.")] = (
        Completeness()
    )
    slo: Annotated[Slo, Field(description="How long a clip may be at work, and a turn of speech.")] = Slo()
    scratch: Annotated[ScratchLimit, Field(description="Scratch of one attempt.")] = ScratchLimit()


class VoiceContractStatus(StatusModel):
    observed_generation: ObservedGeneration = -1
    digest: Annotated[Digest | None, Field(description="Digest of the spec; jobs and agents name contracts by it.")] = (
        None
    )
    conditions: Conditions = ()


class VoiceContract(Resource):
    """States what audio a job accepts and which conversions it declares."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="VoiceContract",
        plural="voicecontracts",
        singular="voicecontract",
        short_names=("vc",),
        everyday_name="contract",
        scope="Namespaced",
        columns=(
            PrinterColumn("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status', "Is it usable?"),
            PrinterColumn("Containers", "string", ".spec.input.containers", "Accepted containers"),
            PrinterColumn("Rates", "string", ".spec.input.sampleRatesHz", "Accepted sample rates in hertz"),
            PrinterColumn("Resample", "integer", ".spec.conversions.resample.toHz", "Declared resampling, in hertz"),
            PrinterColumn("Digest", "string", ".status.digest", "Digest of the spec", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=None,
    )

    spec: VoiceContractSpec
    status: VoiceContractStatus = VoiceContractStatus()
