"""What is known of a package before it is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Registry(StrEnum):
    PYPI_SOURCE = "PyPI source distribution"
    PYPI_WHEEL = "PyPI wheel"
    DEBIAN_SOURCE = "Debian source package"
    """Its upstream tarball alone."""
    DEBIAN_BINARY = "Debian package"
    NPM = "npm package"


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    registry: Registry
    name: str
    version: str
    archive: str
    """The name of the one file that is fetched."""
    sha256: str

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"
