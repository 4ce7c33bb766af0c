"""Recordings of people who speak, out of packages, with the words that they say where these are known."""

from __future__ import annotations

import gzip
import io
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import PurePosixPath

from voxfleet_accuracy.sounds import Samples, samples_of
from voxfleet_accuracy.texts import english_prompts, pocketsphinx_lines
from voxfleet_packages.contents import files
from voxfleet_packages.fetch import fetched
from voxfleet_packages.pinned import PinnedPackage, Registry

POCKETSPHINX = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "pocketsphinx-testdata",
    "0.8+5prealpha+1-15",
    "pocketsphinx-testdata_0.8+5prealpha+1-15_all.deb",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
)
ALSA = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "alsa-utils",
    "1.2.8-1",
    "alsa-utils_1.2.8-1_amd64.deb",
    "fb24eb1a318228b974efbef726190dd90c6106a208814a3ee8f5d69b91ee0ba4",
)
ASTERISK_TEXTS = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "asterisk-core-sounds-en",
    "1.6.1-1",
    "asterisk-core-sounds-en_1.6.1-1_all.deb",
    "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
)
ASTERISK_ENGLISH = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "asterisk-core-sounds-en-wav",
    "1.6.1-1",
    "asterisk-core-sounds-en-wav_1.6.1-1_all.deb",
    "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
)
ASTERISK_FRENCH = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "asterisk-core-sounds-fr-wav",
    "1.6.1-1",
    "asterisk-core-sounds-fr-wav_1.6.1-1_all.deb",
    "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
)
ASTERISK_SPANISH = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "asterisk-core-sounds-es-wav",
    "1.6.1-1",
    "asterisk-core-sounds-es-wav_1.6.1-1_all.deb",
    "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
)
ASTERISK_MUSIC = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "asterisk-moh-opsound-wav",
    "2.03-1.1",
    "asterisk-moh-opsound-wav_2.03-1.1_all.deb",
    "8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c",
)
CODEC2 = PinnedPackage(
    Registry.DEBIAN_BINARY,
    "codec2-examples",
    "1.0.5-1",
    "codec2-examples_1.0.5-1_all.deb",
    "7af8cd128f269a1d8116993c9d2bd7d4d452fc17da46a09899aaca2b9bd993d4",
)
WHISPER_CPP = PinnedPackage(
    Registry.NPM,
    "nodejs-whisper",
    "0.3.1",
    "nodejs-whisper-0.3.1.tgz",
    "92041caf2b26c74b7f489fedf37bd093f216eebd61df512045ec2d19d0531d37",
)
PYANNOTE = PinnedPackage(
    Registry.PYPI_WHEEL,
    "pyannote.audio",
    "3.3.2",
    "pyannote_audio-3.3.2-py2.py3-none-any.whl",
    "23e0dcedda920cb2e154e146bcd9663289ee7942d0e012663dad76f2e571ebeb",
)

_POCKETSPHINX_DATA = "usr/share/pocketsphinx/test/data"
_PROMPTS = "usr/share/asterisk/sounds/en_US_f_Allison"
_WHISPER_CPP_FOLDER = "package/cpp/whisper.cpp"
_RAW_RATE_HZ = 16_000
_ALSA_FOLDER = "usr/share/sounds/alsa"
_MUSIC_FOLDER = "usr/share/asterisk/moh"
_ALSA_SIDES = (
    *("Front_Center", "Front_Left", "Front_Right", "Rear_Center"),
    *("Rear_Left", "Rear_Right", "Side_Left", "Side_Right"),
)
_CODEC2_SENTENCES = (
    *("raw/speech_orig_16k", "wav/david4", "wav/f2400", "wav/forig", "wav/hts1a", "wav/hts2a"),
    *("wav/m2400", "wav/mmt1", "wav/morig", "wav/ve9qrp", "wav/vk5qi"),
)
_CONVERSATION_PAUSES = (6.6, 11.63, 17.93, 21.58)
"""In seconds; before the first, nobody speaks."""
_JFK = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording, mono."""

    name: str
    samples: Samples
    rate_hz: int
    text: str | None
    """The words as the package has them; empty: nothing is said; None: they are not known."""
    language: str = "en"
    """What is spoken in it."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz


def librivox() -> list[Recording]:
    """Five lines of a novel, read aloud, 16 kHz."""
    return list(_with_lines("librivox", "transcription", "librivox"))


def cards() -> list[Recording]:
    """Five calls of playing cards, 16 kHz."""
    return list(_with_lines("cards", "cards.transcription", "card"))


def commands() -> list[Recording]:
    """A spoken command and a row of digits, 16 kHz."""
    known = {"goforward": "go forward ten meters", "tidigits/dhd.2934z": "two nine three four zero"}
    contents = _contents(POCKETSPHINX, [f"{_POCKETSPHINX_DATA}/{name}.raw" for name in known])
    return [
        Recording(f"command-{PurePosixPath(name).name}", samples_of(content), _RAW_RATE_HZ, text)
        for (name, text), content in zip(known.items(), contents, strict=True)
    ]


def loudspeakers() -> list[Recording]:
    """The names of eight loudspeakers, one each, 48 kHz."""
    contents = _contents(ALSA, [f"{_ALSA_FOLDER}/{side}.wav" for side in _ALSA_SIDES])
    return [
        _wav(f"loudspeaker-{side}", content, side.replace("_", " "))
        for side, content in zip(_ALSA_SIDES, contents, strict=True)
    ]


def prompts() -> list[Recording]:
    """What a telephone system says, 8 kHz: the sentences whose text says all that is heard, in their texts' order."""
    (packed,) = _contents(ASTERISK_TEXTS, ["usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"])
    sounds = _by_name(ASTERISK_ENGLISH, _PROMPTS)
    return [
        _wav(f"prompt-{name.replace('/', '-')}", sounds[name], text)
        for name, text in english_prompts(gzip.decompress(packed).decode("utf-8")).items()
        if name in sounds
    ]


def kennedy() -> Recording:
    """A sentence of an inaugural address, 16 kHz."""
    (content,) = _contents(WHISPER_CPP, [f"{_WHISPER_CPP_FOLDER}/bindings/go/samples/jfk.wav"])
    return _wav("kennedy", content, _JFK)


def conversation() -> Recording:
    """Two people on a telephone, 30 s at 16 kHz; no package says their words. It needs pip alone."""
    (content,) = _contents(PYANNOTE, ["pyannote/audio/sample/sample.wav"])
    return _wav("conversation", content, None)


def conversation_parts() -> list[Recording]:
    """Four parts of the conversation, 4 to 8 s, cut where nobody speaks."""
    whole = conversation()
    frames = [round(second * whole.rate_hz) for second in _CONVERSATION_PAUSES]
    return [
        Recording(f"conversation-{number}", whole.samples[first:last], whole.rate_hz, None)
        for number, (first, last) in enumerate(pairwise([*frames, len(whole.samples)]), 1)
    ]


def without_texts() -> list[Recording]:
    """Speech whose words no package says: sentences at 8 kHz, a conversation, French and Spanish prompts."""
    found = [
        _wav(f"codec2-{PurePosixPath(name).name}", content, None)
        for name, content in zip(
            _CODEC2_SENTENCES,
            _contents(CODEC2, [f"usr/share/codec2/{name}.wav" for name in _CODEC2_SENTENCES]),
            strict=True,
        )
    ]
    found.append(conversation())
    for package, folder in ((ASTERISK_FRENCH, "fr_CA_f_June"), (ASTERISK_SPANISH, "es_MX_f_Allison")):
        names = ("agent-incorrect", "demo-nogo", "queue-periodic-announce")
        contents = _contents(package, [f"usr/share/asterisk/sounds/{folder}/{name}.wav" for name in names])
        language = folder[:2]
        found += [
            _wav(f"{language}-{name}", content, None, language) for name, content in zip(names, contents, strict=True)
        ]
    return found


def music() -> list[Recording]:
    """What a caller on hold hears, 8 kHz."""
    return [_wav(f"music-{name}", content, "") for name, content in _by_name(ASTERISK_MUSIC, _MUSIC_FOLDER).items()]


def noises() -> list[Recording]:
    """A test noise at 48 kHz, monkeys and tones at 8 kHz."""
    (noise,) = _contents(ALSA, [f"{_ALSA_FOLDER}/Noise.wav"])
    sounds = _by_name(ASTERISK_ENGLISH, _PROMPTS)
    return [
        _wav("test-noise", noise, ""),
        *(_wav(name, sounds[name], "") for name in ("tt-monkeys", "ascending-2tone")),
    ]


def british_to_american() -> bytes:
    """The JSON map of spellings that Whisper's normaliser uses."""
    (content,) = _contents(WHISPER_CPP, [f"{_WHISPER_CPP_FOLDER}/tests/librispeech/normalizers/english.json"])
    return content


def _with_lines(folder: str, lines: str, name: str) -> Iterator[Recording]:
    below = f"{_POCKETSPHINX_DATA}/{folder}"
    (transcription,) = _contents(POCKETSPHINX, [f"{below}/{lines}"])
    texts = pocketsphinx_lines(transcription.decode("utf-8"))
    contents = _contents(POCKETSPHINX, [f"{below}/{stem}.wav" for stem in texts])
    for (stem, text), content in zip(texts.items(), contents, strict=True):
        yield _wav(f"{name}-{stem.rpartition('-')[2]}", content, text)


def _contents(package: PinnedPackage, names: Sequence[str]) -> list[bytes]:
    """In the order of the names, with one pass over the archive. Raises PackageUnavailable."""
    found = dict(files(fetched(package), frozenset(names).__contains__))
    return [found[name] for name in names]


@cache
def _by_name(package: PinnedPackage, folder: str) -> Mapping[str, bytes]:
    """The wav files below `folder`, by their path there without the suffix."""
    prefix = f"{folder}/"
    found = files(fetched(package), lambda name: name.startswith(prefix) and name.endswith(".wav"))
    return {name.removeprefix(prefix).removesuffix(".wav"): content for name, content in found}


def _wav(name: str, content: bytes, text: str | None, language: str = "en") -> Recording:
    with wave.open(io.BytesIO(content)) as opened:
        if (opened.getnchannels(), opened.getsampwidth()) != (1, 2):
            raise ValueError(f"{name} is no mono 16-bit wav file")
        samples = samples_of(opened.readframes(opened.getnframes()))
        return Recording(name, samples, opened.getframerate(), text, language)
