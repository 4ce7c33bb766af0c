"""VoiceEndpoint: a model that stays warm on Interactive lanes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    NOT_FILLED_IN,
    Duration,
    Size,
    SpecModel,
    TimeZoneName,
    between,
    cel,
    list_atomic,
    list_set,
    list_unique,
    validations,
)
from voxfleet_api.kinds.endpoint_auth import EndpointAuth
from voxfleet_api.kinds.endpoint_session import SessionLimits, Streaming, TurnDetection
from voxfleet_api.kinds.endpoint_status import MAX_LANES, VoiceEndpointStatus
from voxfleet_api.kinds.endpoint_yield import Yield
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.mac_availability import Window
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, LocalRef, PrinterColumn, Resource
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Toleration

MAX_NAME_LENGTH = 63
"""The name stands in addresses and labels."""

Alias = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9])?$")]
"""A model's name as clients write it, such as `whisper-1` or `mlx-community/whisper-large-v3`."""


class LaneRange(
    SpecModel,
    json_schema_extra=validations(
        cel("self.min <= self.max", "write a max that is no smaller than min", field_path=".max"),
    ),
):
    """How many lanes are kept warm. Each is on a Mac of its own."""

    min: Annotated[
        int, Field(ge=1, le=MAX_LANES, description="As many are always wanted; with fewer it is not Available.")
    ] = 1
    max: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_LANES,
            description="As many are wanted at most: one more than are warm while three quarters of their sessions are"
            " taken, until ten minutes have passed without a need of it.",
        ),
    ] = 1


class VoiceEndpointSpec(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "(self.task == 'Synthesize') == has(self.synthesis)",
            "task Synthesize needs synthesis, and no other task takes it",
            field_path=".synthesis",
        ),
        cel(
            "has(self.credentialsSecretRef) || !((has(self.model.uri) && self.model.uri.startsWith('s3://'))"
            " || (has(self.synthesis) && has(self.synthesis.reference)"
            " && self.synthesis.reference.uri.startsWith('s3://')))",
            "s3:// needs credentialsSecretRef: agents use no credentials of their own",
        ),
        cel(
            "!has(self.windows) || size(self.windows) == 0 || has(self.timeZone)",
            "write timeZone beside windows, such as Europe/Berlin",
            field_path=".timeZone",
        ),
    ),
):
    """What is kept warm, where, and when."""

    contract_ref: Annotated[LocalRef, Field(description="The VoiceContract, in the same namespace.")]
    task: Annotated[Task, Field(description="Transcribe: speech comes in. Synthesize: speech goes out.")] = (
        Task.TRANSCRIBE
    )
    model: Annotated[
        ModelSource, Field(description="The model; `{builtin: {name: commands}}` is a small one, for trials only.")
    ]
    aliases: Annotated[
        tuple[Alias, ...],
        Field(
            max_length=16,
            json_schema_extra=list_set(),
            description="Other names that clients may write for the model, beside the endpoint's own.",
        ),
    ] = ()
    transcription: Annotated[Transcription, Field(description="How the model transcribes.")] = Transcription()
    synthesis: Annotated[
        Synthesis | None, Field(description="How the model synthesizes speech; only for Synthesize.")
    ] = None
    credentials_secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="Secret in the same namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where needed,"
            " AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL. Absent: file:// only."
        ),
    ] = None
    lanes: Annotated[LaneRange, Field(description="How many lanes are kept warm.")] = LaneRange()
    memory_cap: Annotated[
        Size,
        Field(description="The memory that a lane needs, such as `6Gi`: only pools with lanes of so much take it."),
    ]
    mac_selector: Annotated[
        LabelSelector, Field(description="Labels of the MacAgents that may hold a lane; empty: all.")
    ] = LabelSelector()
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(
            max_length=16,
            json_schema_extra=list_unique(),
            description="Taints of MacAgents that do not keep its lanes off; absent: none.",
        ),
    ] = ()
    time_zone: Annotated[
        TimeZoneName | None,
        Field(description="IANA name of the time zone in which the windows are meant, such as Europe/Berlin."),
    ] = None
    windows: Annotated[
        tuple[Window, ...],
        Field(
            max_length=14,
            json_schema_extra=list_atomic(),
            description="Times of day in which lanes are warm; when a window closes they are unloaded. Absent: always.",
        ),
    ] = ()
    session: Annotated[SessionLimits, Field(description="What one session may take.")] = SessionLimits()
    streaming: Annotated[Streaming, Field(description="How often something is sent while a session streams.")] = (
        Streaming()
    )
    turn_detection: Annotated[TurnDetection, Field(description="When a turn of speech begins and ends.")] = (
        TurnDetection()
    )
    slo_window: Annotated[
        Duration,
        Field(
            description="The turns of so long are held against the contract's `slo.interactiveP95`: the condition"
            " SLOMet and status.slo are about them. Absent: 5m.",
            json_schema_extra={**between("1m", "1h"), **NOT_FILLED_IN},
        ),
    ] = "5m"
    yield_: Annotated[
        Yield,
        Field(
            alias="yield",
            description="How batches on the same Mac give way to sessions. A change loads the lanes anew.",
            json_schema_extra=NOT_FILLED_IN,
        ),
    ] = Yield()
    auth: Annotated[EndpointAuth | None, Field(description="Who may call it through a gateway; absent: nobody.")] = None
    billing_key: Annotated[
        str | None,
        Field(min_length=1, max_length=63, description="The cost centre that the machine-hour rows carry."),
    ] = None
    suspend: Annotated[bool, Field(description="True unloads all lanes and places none; false again loads them.")] = (
        False
    )

    def uris(self) -> tuple[str, ...]:
        """Returns all addresses that the endpoint names, for access checks."""
        reference = self.synthesis.reference if self.synthesis is not None else None
        named = (self.model.address, None if reference is None else reference.uri)
        return tuple(uri for uri in named if uri is not None)


_SLO_MET = '.status.conditions[?(@.type=="SLOMet")].status'
_AVAILABLE = '.status.conditions[?(@.type=="Available")]'


class VoiceEndpoint(
    Resource,
    json_schema_extra=validations(
        cel(
            f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
            f"metadata.name is longer than {MAX_NAME_LENGTH} characters; shorten it, it stands in addresses",
        ),
        cel(
            "!has(self.spec.aliases) || !(self.metadata.name in self.spec.aliases)",
            "the endpoint's own name needs no alias; leave it out",
            field_path=".spec.aliases",
        ),
    ),
):
    """Keeps a model warm on Interactive lanes of Macs, for speech in and out."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="VoiceEndpoint",
        plural="voiceendpoints",
        singular="voiceendpoint",
        short_names=("ve",),
        everyday_name="endpoint",
        scope="Namespaced",
        columns=(
            PrinterColumn("Available", "string", f"{_AVAILABLE}.status", "Are as many lanes warm as lanes.min?"),
            PrinterColumn("Reason", "string", f"{_AVAILABLE}.reason", "Why, or why not"),
            PrinterColumn("Wanted", "integer", ".status.lanes.wanted", "Lanes that are wanted now"),
            PrinterColumn("Warm", "integer", ".status.lanes.warm", "Lanes with the model in memory"),
            PrinterColumn("Busy", "integer", ".status.lanes.busy", "Warm lanes with a session"),
            PrinterColumn("SLOMet", "string", _SLO_MET, "Do turns keep to the contract's p95?"),
            PrinterColumn("P95", "string", ".status.slo.p95", "95 of 100 turns took at most so long, lately"),
            PrinterColumn("Task", "string", ".spec.task", "What it does", priority=1),
            PrinterColumn("Macs", "string", ".status.macs[*].mac", "Macs with a lane", priority=1),
            PrinterColumn("Why", "string", ".status.pendingReason", "Why the next lane has no Mac", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=None,
    )

    spec: VoiceEndpointSpec
    status: VoiceEndpointStatus = VoiceEndpointStatus()
