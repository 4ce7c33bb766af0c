"""MacAgent: a Mac that runs attempts, and how it is reached."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    NOT_FILLED_IN,
    OPEN_VALUE,
    Duration,
    ObservedGeneration,
    SpecModel,
    StatusModel,
    Timestamp,
    between,
    cel,
    list_atomic,
    list_map,
    list_set,
    open_enum,
    validations,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.mac_acceptance import AcceptanceJob, MacAcceptance
from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.kinds.mac_pools import DeclaredPool, ReservedMemory
from voxfleet_api.kinds.resource import (
    AGE_COLUMN,
    CrdFacts,
    PrinterColumn,
    Resource,
    SecretKeyRef,
    TlsSecretRef,
)
from voxfleet_api.pools import MAX_POOLS, MAX_RESERVED, PoolKind
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint

HostKey = Annotated[
    str,
    Field(
        min_length=60,
        max_length=1024,
        pattern=r"^(ssh-ed25519|ecdsa-sha2-nistp256|ecdsa-sha2-nistp384|ecdsa-sha2-nistp521|ssh-rsa) [A-Za-z0-9+/=]+$",
        description="A line of ssh-keyscan without the host: type, space, base64.",
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]


class SshAccess(SpecModel):
    """How to reach the agent through the Mac's own sshd."""

    host: Annotated[str, Field(min_length=1, max_length=253, description="Name or address.")]
    port: Annotated[Port, Field(description="sshd's port.")] = 22
    user: Annotated[str, Field(min_length=1, max_length=64, description="Login name; needs no shell.")]
    host_keys: Annotated[
        tuple[HostKey, ...],
        Field(
            min_length=1,
            max_length=4,
            json_schema_extra=list_atomic(),
            description="Pinned host keys, the preferred one first. No key is ever trusted on first use.",
        ),
    ]
    identity_secret_ref: Annotated[SecretKeyRef, Field(description="Private key, in the operator's namespace.")]
    agent_port: Annotated[Port, Field(description="The agent's loopback port on the Mac.")] = 8765


class CaBundleRef(SpecModel):
    """Certificates to trust, which are no secret: one key of a Secret in the operator's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key in the Secret's data.")]


class HttpsAccess(SpecModel):
    """How to reach the agent's own TLS listener. Both sides show a certificate."""

    url: Annotated[
        str,
        Field(
            min_length=9,
            max_length=300,
            pattern=r"^https://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$",
            description="Address of the agent, such as `https://mac-a.example:8765`; without a port, 443. Its"
            " certificate must have the host among its names.",
        ),
    ]
    ca_bundle_ref: Annotated[
        CaBundleRef,
        Field(
            description="Certificates of the authorities that may sign the agent's, in PEM form: a Secret in the"
            " operator's namespace. No others are trusted."
        ),
    ]
    client_certificate_secret_ref: Annotated[
        TlsSecretRef, Field(description="What the operator shows the agent: certificate in tls.crt, key in tls.key.")
    ]


class Access(SpecModel):
    """Lets jobs of some namespaces read and write below some prefixes."""

    namespace_selector: Annotated[
        LabelSelector,
        Field(description="Labels of the namespaces. As everywhere in Kubernetes, the empty selector `{}` means all."),
    ]
    uri_prefixes: Annotated[
        tuple[
            Annotated[
                str, Field(min_length=8, max_length=1024, pattern=r"^(file:///|s3://[a-z0-9]|https://[a-z0-9]).*/$")
            ],
            ...,
        ],
        Field(
            min_length=1, max_length=32, json_schema_extra=list_set(), description="Prefixes; each ends with a slash."
        ),
    ]
    billing_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(
            max_length=32,
            # A list that somebody emptied, or a template left empty, would open the Mac to all.
            json_schema_extra={**list_set(), **NOT_FILLED_IN, "minItems": 1},
            description="Only jobs whose billingKey is one of these; absent: all jobs, also those without one.",
        ),
    ] = ()

    def takes(self, billing_key: str | None) -> bool:
        """Whether the rule lets jobs with this billing key in."""
        return not self.billing_keys or billing_key in self.billing_keys


LONGEST_LEASE_SECONDS = 24 * 3600


class Disconnect(SpecModel):
    lost_after: Annotated[
        Duration,
        Field(
            description="After this time without contact the agent parks its attempts, and another Mac takes over.",
            # A change of the operator's leader takes 10 s and longer, in which no lease is renewed.
            json_schema_extra=between("30s", "24h"),
        ),
    ] = "10m"

    @property
    def lease_seconds(self) -> int:
        """The lease of this Mac's attempts. Bounded here, too: an API server may hold objects from before a rule."""
        return min(max(1, duration_milliseconds(self.lost_after) // 1000), LONGEST_LEASE_SECONDS)


class DrainMode(StrEnum):
    """What becomes of the attempts on a Mac that drains."""

    FINISH = "Finish"
    RETURN_AT_NEXT_CLIP = "ReturnAtNextClip"


class Drain(SpecModel):
    """Empties the Mac: it takes nothing new, and what runs ends in time."""

    mode: Annotated[
        DrainMode,
        Field(
            description="Finish: attempts run to their end, until the deadline. ReturnAtNextClip: they end after the"
            " clips in flight, and other Macs go on with the rest."
        ),
    ] = DrainMode.FINISH
    deadline_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=7 * 24 * 3600,
            description="After this time Finish becomes ReturnAtNextClip; what runs 5 minutes later is stopped.",
        ),
    ] = 3600


BillingName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
"""Written like the value of a label, so that exports and metrics can carry it."""


class MacBilling(SpecModel):
    """Whose the Mac is, and as what it is paid. The price book names rates by these."""

    lessor: Annotated[
        BillingName | None, Field(description="Who rents it out, as the price book names them; absent: nobody.")
    ] = None
    sku: Annotated[BillingName | None, Field(description="What is rented, as the lessor's price list names it.")] = None
    billing_key: Annotated[
        BillingName | None, Field(description="The contract or cost centre under which the lessor bills this Mac.")
    ] = None


class MacAgentSpec(
    SpecModel,
    json_schema_extra=validations(
        cel("has(self.ssh) != has(self.https)", "write exactly one of ssh and https"),
    ),
):
    """A Mac: its transport, what it may run, and the key that signs its machine-hours."""

    ssh: Annotated[SshAccess | None, Field(description="Reaches the agent through the Mac's sshd.")] = None
    https: Annotated[HttpsAccess | None, Field(description="Reaches the agent over HTTPS.")] = None
    token_secret_ref: Annotated[
        SecretKeyRef, Field(description="The agent's bearer token, in the operator's namespace.")
    ]
    session_token_secret_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="The token for sessions of endpoints, in the operator's namespace: gateways have it, and it"
            " opens sessions and nothing else. Absent: no gateway reaches this Mac."
        ),
    ] = None
    ledger_public_key: Annotated[
        str,
        Field(
            min_length=44,
            max_length=44,
            pattern=r"^[A-Za-z0-9+/]{43}=$",
            description="Ed25519 key, base64, that `voxfleet-agent init` printed; it signs identity and machine-hours.",
        ),
    ]
    access: Annotated[
        tuple[Access, ...],
        Field(
            max_length=16,
            json_schema_extra=list_atomic(),
            description="Who may read and write what through this Mac; absent: nothing.",
        ),
    ] = ()
    pools: Annotated[
        tuple[DeclaredPool, ...],
        Field(
            max_length=MAX_POOLS,
            json_schema_extra={**list_map("name"), **NOT_FILLED_IN, "minItems": 1},
            description="The pools that the agent is expected to have. Its own agent.yaml wins, and the condition"
            " PoolsMatch tells a difference; absent: whatever it has.",
        ),
    ] = ()
    reserved: Annotated[
        tuple[ReservedMemory, ...],
        Field(
            max_length=MAX_RESERVED,
            json_schema_extra={**list_map("name"), **NOT_FILLED_IN, "minItems": 1},
            description="Memory of others on the Mac, which no pool may take; absent: whatever agent.yaml says.",
        ),
    ] = ()
    taints: Annotated[
        tuple[Taint, ...],
        Field(
            max_length=16,
            json_schema_extra={**list_map("key", "effect"), **NOT_FILLED_IN},
            description="Keep off all jobs that do not tolerate them; absent: none.",
        ),
    ] = ()
    unschedulable: Annotated[bool, Field(description="True: no new attempts; running ones finish.")] = False
    availability: Annotated[OpeningHours | None, Field(description="When the Mac works; absent: always.")] = None
    drain: Annotated[Drain | None, Field(description="Empties the Mac for as long as it stands here.")] = None
    disconnect: Annotated[Disconnect, Field(description="When a silent Mac counts as lost.")] = Disconnect()
    billing: Annotated[
        MacBilling | None, Field(description="Whose the Mac is, and as what it is paid; absent: it costs nothing.")
    ] = None
    require_acceptance: Annotated[
        bool,
        Field(
            json_schema_extra=NOT_FILLED_IN,
            description="True: no new attempts before `spec.acceptance` says that this machine has passed; running ones"
            " finish. Absent: false.",
        ),
    ] = False
    acceptance_job: Annotated[
        AcceptanceJob | None,
        Field(description="The job that may run here before the Mac is accepted; `voxfleet accept` sets it."),
    ] = None
    acceptance: Annotated[
        MacAcceptance | None, Field(description="What `voxfleet accept` found; absent: the Mac was not tried.")
    ] = None


class MachinePool(StatusModel):
    """A named group of lanes."""

    name: Annotated[str, Field(max_length=63, description="Name of the pool.")]
    kind: Annotated[
        str,
        OPEN_VALUE,
        open_enum(PoolKind),
        Field(description="Offline: batches. Interactive: people who speak and listen."),
    ]
    lanes: Annotated[int, Field(description="Lanes of the pool.")]
    memory_cap_bytes: Annotated[
        int | None, Field(description="Memory cap of each lane; absent: the agent does not say.")
    ] = None


class MachineReservation(StatusModel):
    """Memory that the agent leaves to a co-tenant."""

    name: Annotated[str, Field(max_length=63, description="Name of the co-tenant.")]
    memory_bytes: Annotated[int, Field(description="What it needs.")]


class Machine(StatusModel):
    """Facts that the agent reports."""

    hardware_id: Annotated[str, Field(max_length=128, description="Identifies this machine.")]
    boot_id: Annotated[
        str | None, Field(max_length=128, description="Identifies the time since it was last started.")
    ] = None
    ledger_chain_id: Annotated[
        str | None,
        Field(
            max_length=64, description="The chain of its ledger rows; another one once the agent has lost its state."
        ),
    ] = None
    chip: Annotated[str, Field(max_length=128, description="Name of the chip.")]
    memory_bytes: Annotated[int, Field(description="Memory of the machine.")]
    os: Annotated[str, Field(max_length=128, description="Operating system and its version.")]
    pools: Annotated[
        tuple[MachinePool, ...], Field(max_length=16, json_schema_extra=list_map("name"), description="Its pools.")
    ]
    reserved: Annotated[
        tuple[MachineReservation, ...] | None,
        Field(
            max_length=MAX_RESERVED,
            json_schema_extra=list_map("name"),
            description="Memory of others on the Mac; absent: the agent does not say.",
        ),
    ] = None
    usable_memory_bytes: Annotated[
        int | None,
        Field(description="What all lanes and co-tenants may take together; absent: the agent does not say."),
    ] = None
    versions: Annotated[
        dict[str, Annotated[str, Field(max_length=64)]],
        Field(max_length=32, description="Versions of the agent and its packages, by name."),
    ]


class MacExclusion(StatusModel):
    """Why the Mac takes no attempts for a while, although it is in contact."""

    until: Annotated[Timestamp, Field(description="When it is tried again; any work that it delivers ends it earlier.")]
    failures: Annotated[int, Field(description="Attempts that failed in the hour before, without a success.")]
    failure_class: Annotated[
        str, OPEN_VALUE, open_enum(FailureClass), Field(alias="class", description="Failure class of the last one.")
    ]
    times: Annotated[int, Field(description="How often it was excluded in a row; each time for longer, up to 1 hour.")]


class MacAgentStatus(StatusModel):
    """No field changes with work, so a busy fleet writes no more MacAgent status than an idle one."""

    observed_generation: ObservedGeneration = -1
    conditions: Conditions = ()
    machine: Machine | None = None
    exclusion: Annotated[MacExclusion | None, Field(description="Present while the Mac is excluded.")] = None


class MacAgent(Resource):
    """A Mac that runs attempts."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="MacAgent",
        plural="macagents",
        singular="macagent",
        short_names=("mac",),
        everyday_name="mac",
        scope="Cluster",
        columns=(
            PrinterColumn(
                "Available", "string", '.status.conditions[?(@.type=="Available")].status', "Accepts attempts?"
            ),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Available")].reason', "Why, or why not"),
            PrinterColumn(
                "Lanes",
                "integer",
                '.status.machine.pools[?(@.kind=="Offline")].lanes',
                "Lanes of the first offline pool",
            ),
            PrinterColumn(
                "Interactive",
                "integer",
                '.status.machine.pools[?(@.kind=="Interactive")].lanes',
                "Lanes of the first interactive pool",
                priority=1,
            ),
            PrinterColumn("Chip", "string", ".status.machine.chip", "Chip"),
            PrinterColumn(
                "Ledger",
                "string",
                '.status.conditions[?(@.type=="LedgerVerified")].status',
                "Do its signed rows verify?",
            ),
            PrinterColumn(
                "Accepted",
                "string",
                '.status.conditions[?(@.type=="AcceptancePassed")].status',
                "Did this machine pass its acceptance?",
                priority=1,
            ),
            PrinterColumn(
                "Pools",
                "string",
                '.status.conditions[?(@.type=="PoolsMatch")].status',
                "Are its pools those of the spec?",
                priority=1,
            ),
            PrinterColumn("Host", "string", ".spec.ssh.host", "SSH host", priority=1),
            PrinterColumn("URL", "string", ".spec.https.url", "Address over HTTPS", priority=1),
            PrinterColumn("OS", "string", ".status.machine.os", "Operating system", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=None,
    )

    spec: MacAgentSpec
    status: MacAgentStatus = MacAgentStatus()
