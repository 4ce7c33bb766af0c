"""Reads CTranslate2's model.bin: a header, then named arrays, all little-endian. Pure.

The layout, as CTranslate2's `model_spec.py` writes it in version 6: u32 version, name of the specification, u32 its
revision, u32 number of variables; of each: name, u8 rank, u32 for each dimension, u8 element type, u32 size in bytes,
the bytes. A name is a u16 length and that many bytes, of which the last is zero. Behind the variables follow aliases,
second names of variables, which are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
VERSION = 6

_ELEMENT_TYPES: Mapping[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}


class NotCTranslate2(ValueError):
    """The bytes are no model.bin of a known version; the text says what they are."""


@dataclass(frozen=True, slots=True)
class CTranslate2Model:
    specification: str
    variables: Mapping[str, Array]
    """By names such as encoder/layer_0/ffn/linear_0/weight."""


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._offset = 0

    def take(self, size_bytes: int) -> memoryview:
        end = self._offset + size_bytes
        if end > len(self._content):
            raise NotCTranslate2(f"the file ends at byte {len(self._content)}, inside a value that ends at {end}")
        taken = memoryview(self._content)[self._offset : end]
        self._offset = end
        return taken

    def unsigned(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "little")

    def name(self) -> str:
        return bytes(self.take(self.unsigned(2))).removesuffix(b"\0").decode("ascii")


def read_model(content: bytes) -> CTranslate2Model:
    """Raises NotCTranslate2. The arrays share the memory of `content`."""
    cursor = _Cursor(content)
    version = cursor.unsigned(4)
    if version != VERSION:
        raise NotCTranslate2(f"binary version {version}, not {VERSION}")
    specification = cursor.name()
    cursor.unsigned(4)
    variables = dict(_variable(cursor) for _ in range(cursor.unsigned(4)))
    return CTranslate2Model(specification, variables)


def _variable(cursor: _Cursor) -> tuple[str, Array]:
    name = cursor.name()
    shape = tuple(cursor.unsigned(4) for _ in range(cursor.unsigned(1)))
    number = cursor.unsigned(1)
    element = _ELEMENT_TYPES.get(number)
    if element is None:
        raise NotCTranslate2(f"{name} has elements of type {number}, which is not known")
    array = np.frombuffer(cursor.take(cursor.unsigned(4)), element)
    if array.size != int(np.prod(shape, dtype=np.int64)):
        raise NotCTranslate2(f"{name} has {array.size} elements for the shape {shape}")
    return name, array.reshape(shape)
