"""How many bytes the API server stores for a text or a message. Pure."""

from __future__ import annotations

import json

from pydantic import BaseModel

# Kubernetes escapes these in JSON: six bytes each.
_ESCAPED = {"<": 5, ">": 5, "&": 5, "\u2028": 3, "\u2029": 3}
_LONGEST_CHARACTER_BYTES = 6
_JSON = json.JSONEncoder(ensure_ascii=False)


def stored_bytes(value: BaseModel | str) -> int:
    """The length of its JSON in etcd."""
    if isinstance(value, BaseModel):
        text = value.model_dump_json(by_alias=True, exclude_none=True)
    else:
        text = _JSON.encode(value)
    return len(text.encode(errors="replace")) + sum(text.count(char) * more for char, more in _ESCAPED.items())


def shortened(text: str, limit_bytes: int) -> str:
    """The text, or as much of its beginning as the limit has room for, with an ellipsis; quotes do not count."""
    if len(text) * _LONGEST_CHARACTER_BYTES <= limit_bytes:
        return text
    room = limit_bytes + 2
    if stored_bytes(text) <= room:
        return text
    kept, beyond = 0, len(text)
    while beyond - kept > 1:
        middle = (kept + beyond) // 2
        kept, beyond = (middle, beyond) if stored_bytes(text[:middle] + "…") <= room else (kept, middle)
    return text[:kept] + "…"
