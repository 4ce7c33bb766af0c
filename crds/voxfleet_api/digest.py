"""The canonical JSON form, from which digests and signatures are computed."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel

from voxfleet_api.base import ApiModel

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: object) -> bytes:
    """Returns UTF-8 JSON with sorted keys, no spaces and no floats.

    Raises TypeError for a float: two machines may print the same float differently.
    """
    _refuse_floats(value)
    return _CANONICAL.encode(value).encode()


def sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of(value: ApiModel | object) -> str:
    """Returns `sha256:<hex>` of a message's canonical JSON."""
    plain = value.dump() if isinstance(value, ApiModel) else value
    if isinstance(plain, BaseModel):
        raise TypeError(f"{type(plain).__name__} is not an ApiModel")
    return f"sha256:{sha256_hex(canonical_json(plain))}"


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError("canonical JSON holds no floats; use an integer unit or a decimal string")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
