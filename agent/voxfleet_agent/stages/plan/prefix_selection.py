"""Which entries of a prefix become clips, why the others do not, and how many there are of each. Pure."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from voxfleet_agent.stages.plan.hidden_names import is_below_hidden, is_hidden
from voxfleet_agent.storage import Listing
from voxfleet_agent.storage.packed_content import PackedContent
from voxfleet_api.input_selection import InputSelection, SkippedEntries, SkippedRow, SkipReason
from voxfleet_api.kinds.job_input import PrefixInput

TOLD_ENDINGS = 5
_KNOWN_ENDINGS = frozenset(
    {".3gp", ".aac", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".ds2", ".dss", ".flac", ".gsm", ".m4a", ".m4b"}
    | {".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".ra", ".snd", ".vox", ".wav", ".wave"}
    | {".webm", ".wma", ".csv", ".docx", ".jpg", ".json", ".jsonl", ".md", ".pdf", ".png", ".srt", ".tsv", ".txt"}
    | {".vtt", ".xlsx", ".xml", ".zip"}
)
"""Endings that a message may show. What follows the last dot of another name may be a person's."""


@dataclass(frozen=True, slots=True)
class PrefixSelection:
    names: list[str]
    """The clips, relative to the prefix, sorted."""
    skipped: list[tuple[str, SkipReason]]
    """What became no clip, by name. A folder ends in a slash."""
    case_only: int
    """How many names only `matchCase` left out."""

    def skipped_rows(self) -> PackedContent:
        """The content of skipped.jsonl."""
        content = PackedContent()
        for name, reason in self.skipped:
            content.append(SkippedRow(name=name, reason=reason).line())
        return content

    def counts(self) -> InputSelection:
        by_reason = Counter(reason for _, reason in self.skipped)
        return InputSelection(
            listed=len(self.names) + len(self.skipped),
            taken=len(self.names),
            skipped=tuple(
                SkippedEntries(reason=reason.value, entries=by_reason[reason])
                for reason in SkipReason
                if by_reason[reason]
            ),
        )


def select_clips(prefix: PrefixInput, listing: Listing, output_folder: str) -> PrefixSelection:
    """Sorts what a listing found into clips and the rest.

    A pattern applies to the last part of a name. Only a pattern that begins with a dot matches a hidden file, and
    nothing in a hidden folder is a clip, so that no `.DS_Store` and no deleted recording is transcribed. What the job
    writes below the prefix is no clip either, nor what other jobs with the same output wrote.
    """
    patterns = _Patterns(prefix)
    outputs = _outputs(prefix.uri, output_folder)
    names: list[str] = []
    skipped = [
        (f"{printable(folder.name)}/", folder.reason)
        for folder in listing.skipped
        if not f"{prefix.uri}{folder.name}/".startswith(outputs)
    ]
    case_only = 0
    for name in set(listing.names):
        reason = _skip_reason(prefix.uri, name, patterns, outputs)
        if reason is None:
            names.append(name)
        else:
            skipped.append((printable(name), reason))
            case_only += reason is SkipReason.NO_PATTERN_MATCHED and patterns.match(name, ignore_case=True)
    return PrefixSelection(sorted(names), sorted(skipped), case_only)


def enters(folder: str) -> bool:
    """Whether a listing looks into a folder with this name."""
    return not is_hidden(folder)


def printable(name: str) -> str:
    """A local name as text: a byte that is not UTF-8 becomes `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def own_name_of(name: str) -> str:
    """The last part of a name. One of S3 may end in a slash."""
    return name.rstrip("/").rpartition("/")[2]


def is_text(name: str) -> bool:
    """Whether a name is text. Python decodes the bytes of a local name that are not UTF-8 to surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def nothing_selected(prefix: PrefixInput, selection: PrefixSelection) -> str:
    """Why a prefix has no clips, without the name of any file."""
    counts = selection.counts()
    if not counts.listed:
        return "it holds no files"
    reasons = [f"{item.entries} {_WORDS[SkipReason(item.reason)]}" for item in counts.skipped]
    said = f"it holds {counts.listed} {'entry' if counts.listed == 1 else 'entries'}: {', '.join(reasons)}"
    unmatched = [name for name, reason in selection.skipped if reason is SkipReason.NO_PATTERN_MATCHED]
    if unmatched:
        said += f". No name matches {', '.join(prefix.include)}; what is there ends in {_endings(unmatched)}"
    if selection.case_only:
        said += f". {selection.case_only} differ in case only: leave matchCase out"
    return said


class _Patterns:
    """The include patterns, compared in one Unicode normalization: file systems differ in theirs."""

    def __init__(self, prefix: PrefixInput) -> None:
        self._ignore_case = not prefix.match_case
        sources = [fnmatch.translate(unicodedata.normalize("NFC", pattern)) for pattern in prefix.include]
        dotted = [pattern.startswith(".") for pattern in prefix.include]
        self._exact = [*zip(map(re.compile, sources), dotted, strict=True)]
        self._folded = [*zip((re.compile(source, re.IGNORECASE) for source in sources), dotted, strict=True)]

    def match(self, name: str, *, ignore_case: bool | None = None) -> bool:
        """`ignore_case`: None: as the job says."""
        own_name = unicodedata.normalize("NFC", own_name_of(name))
        ignores = self._ignore_case if ignore_case is None else ignore_case
        hidden = is_hidden(own_name)
        return any(
            pattern.match(own_name) is not None and (dotted or not hidden)
            for pattern, dotted in (self._folded if ignores else self._exact)
        )


def _skip_reason(prefix_uri: str, name: str, patterns: _Patterns, outputs: tuple[str, ...]) -> SkipReason | None:
    if f"{prefix_uri}{name}".startswith(outputs):
        return SkipReason.OWN_OUTPUT
    if is_below_hidden(name):
        return SkipReason.HIDDEN
    if patterns.match(name):
        return None
    return SkipReason.HIDDEN if is_hidden(own_name_of(name)) else SkipReason.NO_PATTERN_MATCHED


def _outputs(prefix_uri: str, output_folder: str) -> tuple[str, ...]:
    """Where results lie: the job's own folder, and its output prefix where that is a folder below the input."""
    output_uri = f"{output_folder.rpartition('/')[0]}/"
    inside = output_uri.startswith(prefix_uri) and output_uri != prefix_uri
    return (output_uri,) if inside else (f"{output_folder}/",)


def _endings(names: Iterable[str]) -> str:
    """`.wav (7), .WAV (2), other endings (1)`."""
    counted = Counter(_ending(name) for name in names)
    shown = [f"{ending} ({count})" for ending, count in counted.most_common(TOLD_ENDINGS) if ending]
    others = sum(counted.values()) - sum(count for ending, count in counted.most_common(TOLD_ENDINGS) if ending)
    return ", ".join([*shown, *([f"other endings ({others})"] if others else [])])


def _ending(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.lower() in _KNOWN_ENDINGS else ""


_WORDS = {
    SkipReason.HIDDEN: "hidden",
    SkipReason.NO_PATTERN_MATCHED: "that no pattern matches",
    SkipReason.OWN_OUTPUT: "where the job writes",
    SkipReason.LINKED_FOLDER: "linked folders, which are not followed",
    SkipReason.NOT_READABLE: "folders that this account may not read",
}
