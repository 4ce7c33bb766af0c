"""VoiceEndpoint: who may call it through a gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import NOT_FILLED_IN, SpecModel, cel, list_set, validations
from voxfleet_api.kinds.resource import LocalRef

_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

ServiceAccountName = Annotated[
    str, Field(min_length=1, max_length=317, pattern=rf"^({_NAME}/)?[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?$")
]
AllowedOrigin = Annotated[
    str,
    Field(min_length=8, max_length=300, pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$"),
]


class EndpointAuth(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "has(self.keysSecretRef) || (has(self.serviceAccounts) && size(self.serviceAccounts) > 0)",
            "write keysSecretRef, serviceAccounts or both; without either nobody gets in, as without auth",
        ),
    ),
):
    """Who may call the endpoint. A caller needs a key or a ServiceAccount's token, never both."""

    keys_secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="Secret in the same namespace with hashes of keys: each value has lines `sha256:HEX`, of keys"
            " of at least 128 random bits. The key itself never stands there. The name of a value says whose it is."
        ),
    ] = None
    service_accounts: Annotated[
        tuple[ServiceAccountName, ...],
        Field(
            max_length=64,
            json_schema_extra={**list_set(), **NOT_FILLED_IN, "minItems": 1},
            description="ServiceAccounts, as `namespace/name`, or `name` in the same namespace, whose tokens for the"
            " audience voxfleet-gateway are taken. Each also needs the verb `use` on the endpoint (RBAC).",
        ),
    ] = ()
    allowed_origins: Annotated[
        tuple[AllowedOrigin, ...],
        Field(
            max_length=32,
            json_schema_extra={**list_set(), **NOT_FILLED_IN, "minItems": 1},
            description="Web pages that may call it, such as `https://app.example`, in lower case. Absent: none. Calls"
            " that name no Origin come from no browser, and are not concerned.",
        ),
    ] = ()
    requests_per_minute: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="How many calls a minute each key and each ServiceAccount has, at each gateway; absent:"
            " no bound but the lanes.",
        ),
    ] = None
