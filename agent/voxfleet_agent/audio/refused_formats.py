"""Names of file formats and encodings that are not accepted, for error messages."""

from __future__ import annotations

_STARTS = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (b"RF64", "an RF64 file"),
    (b"BW64", "a BW64 file"),
    (b"RIFX", "a big-endian wav file (RIFX)"),
    (b"riff", "a Wave64 file"),
    (b"#!AMR", "an AMR file"),
    (b"#!SILK", "a SILK file"),
    (b"0&\xb2u", "a Windows Media file (wma)"),
    (b"ADIF", "a raw AAC stream (ADIF)"),
    (b".snd", "an au file"),
    (b"dns.", "a little-endian au file"),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"TTA1", "a True Audio file"),
    (b"MPCK", "a Musepack file"),
    (b"MP+", "a Musepack file"),
    (b"DSD ", "a DSF file"),
    (b"FRM8", "a DSDIFF file"),
    (b"qoaf", "a QOA file"),
    (b"\x0b\x77", "an AC-3 or E-AC-3 stream"),
    (b"\x7f\xfe\x80\x01", "a DTS stream"),
    (b"NIST_1A", "a NIST SPHERE file"),
    (b"Creative Voice File", "a Creative Voice file"),
    (b".RMF", "a RealMedia file"),
    (b".ra\xfd", "a RealAudio file"),
    (b"FLV", "a Flash Video file"),
    (b"\x00\x00\x01\xba", "an MPEG program stream (mpg, vob)"),
    (b"FWS", "a Flash film"),
    (b"CWS", "a Flash film"),
    (b"MThd", "a MIDI file"),
    (b"#EXTM3U", "a playlist (m3u)"),
    (b"ffconcat", "a list of files that ffmpeg joins"),
    (b"[playlist]", "a playlist (pls)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
)
_MARK_BYTES = 4
_LAYER_3, _NO_BIT_RATE, _NO_RATE = 1, 15, 3
"""Values in an MPEG audio header."""
_OGG_CODECS = ((b"OpusHead", "Opus"), (b"\x01vorbis", "Vorbis"), (b"\x7fFLAC", "FLAC"), (b"Speex", "Speex"))
_ENCODINGS = {
    b"alac": "ALAC",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b"ac-4": "AC-4",
    b"Opus": "Opus",
    b"opus": "Opus",
    b"fLaC": "FLAC",
    b"flac": "FLAC",
    b".mp1": "MPEG layer I",
    b".mp2": "MPEG layer II",
    b".mp3": "MP3",
    b"ms\x00\x55": "MP3",
    b"ms\x00\x02": "ADPCM",
    b"ms\x00\x11": "IMA ADPCM",
    b"samr": "AMR",
    b"sawb": "AMR wideband",
    b"ima4": "IMA ADPCM",
    b"ulaw": "mu-law",
    b"ULAW": "mu-law",
    b"alaw": "A-law",
    b"ALAW": "A-law",
    b"MAC3": "MACE 3:1",
    b"MAC6": "MACE 6:1",
    b"GSM ": "GSM",
    b"agsm": "GSM",
    b"G722": "G.722",
    b"QDMC": "QDesign Music",
    b"QDM2": "QDesign Music 2",
    b"Qclp": "QUALCOMM PureVoice",
    b"raw ": "unsigned 8-bit PCM",
    b"fl64": "64-bit float",
    b"FL64": "64-bit float",
    b"lpcm": "PCM",
    b"twos": "PCM",
    b"sowt": "PCM",
    b"aach": "HE-AAC",
    b"aacp": "HE-AAC v2",
    b"aacl": "AAC-LD",
    b"aace": "AAC-ELD",
    b"usac": "xHE-AAC",
    b"enca": "encrypted audio",
    b"drms": "encrypted audio",
    b"dtsc": "DTS",
    b"mlpa": "TrueHD",
}


def file_name(head: bytes) -> str:
    """Names a file of no accepted container by `head`, its first 64 bytes or all of it."""
    name = known_file_name(head)
    if name is not None:
        return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] >> 1 & 0x3 == _LAYER_3 and len(head) > 2 and head[2] >> 4 == 0:
            return "an mp3 stream of free format, whose frames state no length"
        return "a broken MPEG audio stream"
    return f"not an audio file that can be told by its first bytes ({head[:4].hex(' ')})"


def marked_file_name(head: bytes) -> str | None:
    """The name of a format whose mark, at least four bytes long, `head` begins with; None: it begins with none."""
    if head.startswith(b"OggS"):
        return next((f"an Ogg file of {codec}" for marker, codec in _OGG_CODECS if marker in head), "an Ogg file")
    if head.startswith(b"\x1aE\xdf\xa3"):
        if b"webm" in head:
            return "a WebM file"
        return "a Matroska file" if b"matroska" in head else "a Matroska or WebM file"
    return next((name for start, name in _STARTS if len(start) >= _MARK_BYTES and head.startswith(start)), None)


def known_file_name(head: bytes) -> str | None:
    """As `file_name`; None when these bytes begin no format that is known here."""
    name = marked_file_name(head) or next((name for start, name in _STARTS if head.startswith(start)), None)
    if name is not None:
        return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "a raw AAC stream (ADTS)"
    if len(head) > 1 and head[0] == 0x56 and head[1] & 0xE0 == 0xE0:
        return "a raw AAC stream (LOAS)"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if len(head) > 2 and (head[2] >> 4 == _NO_BIT_RATE or head[2] >> 2 & 0x3 == _NO_RATE):
            return None
        layer = {1: "III", 2: "II", 3: "I"}.get((head[1] >> 1) & 0x3)
        return f"an MPEG layer {layer} audio stream" if layer in ("I", "II") else None
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{", b"["):
        return "a text file (HTML, XML or JSON)"
    return None


def encoding_name(code: bytes) -> str:
    """The name of a four-character code of QuickTime, MPEG-4, AIFF or CAF."""
    return _ENCODINGS.get(code, f"encoding '{printable(code)}'")


def printable(code: bytes) -> str:
    """A four-character code as text, for messages."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in code)
