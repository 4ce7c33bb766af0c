"""What Argo CD says of an object, by a health.lua run as Argo CD runs it.

It runs Lua 5.1 with the base and table libraries only, unless somebody opens the others. It asks no script about an
object that is being deleted, and a sync with waves ends its wait for an object that is Healthy, or fails with one that
is Degraded: any other health is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lupa import lua51  # type: ignore[import-untyped] # it ships no types

STATUSES = frozenset({"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"})
HOOK = "argocd.argoproj.io/hook"
_CLOSED = "io, os, string, math, coroutine, debug, package, require, dofile, loadfile = nil"
_NO_METHODS_OF_TEXTS = 'getmetatable("").__index = nil'


@dataclass(frozen=True)
class Health:
    status: str
    message: str

    @property
    def is_waited_for(self) -> bool:
        return self.status not in ("Healthy", "Degraded")


class HealthScript:
    def __init__(self, script: str) -> None:
        self._script = script
        self._lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
        self._lua.execute(_NO_METHODS_OF_TEXTS)
        self._lua.execute(_CLOSED)

    def health(self, manifest: Mapping[str, object]) -> Health:
        """Raises lua51.LuaError, and AssertionError for an answer that Argo CD would refuse."""
        metadata = manifest["metadata"]
        assert isinstance(metadata, dict)
        if metadata.get("deletionTimestamp"):
            return Health("Progressing", "Pending deletion")
        self._lua.globals().obj = self._lua.table_from(manifest, recursive=True)
        answer = dict(self._lua.execute(self._script))
        assert answer.keys() <= {"status", "message"} and answer["status"] in STATUSES, answer
        return Health(str(answer["status"]), str(answer.get("message", "")))
