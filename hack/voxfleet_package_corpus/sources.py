"""Which packages the audio files come from."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_packages.pinned import PinnedPackage, Registry

AUDIO_SUFFIXES = frozenset(
    (
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".amr",
        ".ape",
        ".asf",
        ".au",
        ".avi",
        ".caf",
        ".dff",
        ".dsf",
        ".dts",
        ".f4a",
        ".flac",
        ".flc",
        ".it",
        ".m4a",
        ".m4b",
        ".m4p",
        ".m4r",
        ".m4v",
        ".mid",
        ".midi",
        ".mka",
        ".mkv",
        ".mod",
        ".mov",
        ".mp+",
        ".mp1",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpc",
        ".mpeg",
        ".mpg",
        ".oga",
        ".ofr",
        ".ofs",
        ".ogg",
        ".ogv",
        ".opus",
        ".ra",
        ".rm",
        ".rmi",
        ".s3m",
        ".snd",
        ".spx",
        ".tak",
        ".tta",
        ".voc",
        ".w64",
        ".wav",
        ".wave",
        ".webm",
        ".wma",
        ".wv",
        ".xm",
        ".3gp",
    )
)


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A folder of audio files that another package has put on this machine."""

    name: str
    folder: str
    """Below the package; of "cpython", below its standard library."""


SOURCES: tuple[PinnedPackage | InstalledPackage, ...] = (
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "mutagen",
        "1.48.1",
        "mutagen-1.48.1.tar.gz",
        "8f95637ab9f6f305cec6bd1294e197debe207998e3e068596563c74f86b0a173",
    ),
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "hachoir",
        "3.4.0",
        "hachoir-3.4.0.tar.gz",
        "7f88018d58ef42b5dcd8ff51f2a6191abf3ade38eee8da11acd93f5a7d9cf8f8",
    ),
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "puremagic",
        "1.30",
        "puremagic-1.30.tar.gz",
        "f9ff7ac157d54e9cf3bff1addfd97233548e75e685282d84ae11e7ffee1614c9",
    ),
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "pymediainfo",
        "7.0.1",
        "pymediainfo-7.0.1.tar.gz",
        "0d5df59ecc615e24c56f303b8f651579c6accab7265715e5d429186d7ba21514",
    ),
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "soundfile",
        "0.14.0",
        "soundfile-0.14.0.tar.gz",
        "ba1c1a2d618bca5c406647c83b89f07cc8810fa506a50622a6993ba130c1de11",
    ),
    PinnedPackage(
        Registry.PYPI_SOURCE,
        "miniaudio",
        "1.71",
        "miniaudio-1.71.tar.gz",
        "ff51e2887bb673e2e757752b586b3dc924d59aa5fbcae9bbc45f4a111bd3262b",
    ),
    PinnedPackage(
        Registry.DEBIAN_SOURCE,
        "libaudio-scan-perl",
        "1.01-2",
        "libaudio-scan-perl_1.01.orig.tar.gz",
        "8312720271c7addc4bbeec3312cddd8af4b990ac636204a596c07933ad6c634a",
    ),
    PinnedPackage(
        Registry.DEBIAN_SOURCE,
        "taglib",
        "1.13-2+deb12u1",
        "taglib_1.13.orig.tar.gz",
        "58f08b4db3dc31ed152c04896ee9172d22052bc7ef12888028c01d8b1d60ade0",
    ),
    PinnedPackage(
        Registry.DEBIAN_SOURCE,
        "libimage-exiftool-perl",
        "12.57+dfsg-1",
        "libimage-exiftool-perl_12.57+dfsg.orig.tar.xz",
        "9de7ccd6ed6adf92038c8d943b1960d087b58c00b3924d19f61a1d774b7610fc",
    ),
    InstalledPackage("scipy", "io/tests/data"),
    InstalledPackage("cpython", "test"),
)
