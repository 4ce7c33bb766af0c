"""Parts of a rig that are started together, and stopped in reverse, also when one of them does not start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self


class StartedTogether(ABC):
    """A context manager. `_start` puts onto `_stack` what stops each part."""

    _stack: ExitStack

    @abstractmethod
    def _start(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
