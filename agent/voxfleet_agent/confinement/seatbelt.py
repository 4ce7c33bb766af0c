"""The seatbelt profile of a lane on macOS, as text. Pure. Not tested on a Mac.

It denies by name and allows the rest, because Metal needs services and caches that Apple documents nowhere. The last
rule that matches wins; the language is described in the Apple Sandbox Guide 1.0 (reverse.put.as, 2011).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SANDBOX_EXEC = "/usr/bin/sandbox-exec"
_SECRETS_OF_AN_ACCOUNT = (".ssh", ".aws", ".config", ".netrc", ".gnupg", ".kube", "Library/Keychains")


def profile(
    *, hidden: Iterable[Path], read_only: Iterable[Path], readable: Iterable[Path], writable: Iterable[Path], home: Path
) -> str:
    """`hidden`: neither read nor written, except for what of it is `readable` or `writable`."""
    own_secrets = [home / name for name in _SECRETS_OF_AN_ACCOUNT]
    lines = [
        "(version 1)",
        "(allow default)",
        "(deny network*)",
        "(deny process-info*)",
        "(allow process-info* (target self))",
        "(deny signal)",
        "(allow signal (target self))",
        *(f"(deny file-write* {_below(path)})" for path in read_only),
        *(f"(deny file-read-data file-write* {_below(path)})" for path in (*own_secrets, *hidden)),
        *(f"(allow file-read-data {_below(path)})" for path in readable),
        *(f"(allow file-read-data file-write* {_below(path)})" for path in writable),
    ]
    return "\n".join(lines) + "\n"


def _below(path: Path) -> str:
    """A filter for the path and all below it. Seatbelt sees real paths: /private/var and not /var."""
    quoted = str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return f'(subpath "{quoted}")'
