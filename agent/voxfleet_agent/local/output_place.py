"""The folder that a run without a cluster writes below."""

from __future__ import annotations

import os
from pathlib import Path

from voxfleet_agent.local.documents import DocumentError

_SCHEME = "file://"


def make_output(uri: str) -> None:
    """Creates the folder of a file:// address: the storage makes folders only below one that exists.

    Raises DocumentError when this account cannot write there.
    """
    if not uri.startswith(_SCHEME):
        return
    folder = Path(uri.removeprefix(_SCHEME))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(
            f"spec.output.uri: {folder} cannot be created ({error.strerror}); write a folder that this account may"
            " write to"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DocumentError(
            f"spec.output.uri: this account may not write to {folder}; correct its permissions, or write another folder"
        )
