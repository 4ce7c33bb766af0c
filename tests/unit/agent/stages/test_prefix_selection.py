"""Which entries of a prefix become clips, and what is told about the rest."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.plan.hidden_names import is_hidden
from voxfleet_agent.stages.plan.input_clips import PrefixClips
from voxfleet_agent.stages.plan.other_spelling import other_spellings
from voxfleet_agent.stages.plan.prefix_selection import PrefixSelection, nothing_selected, select_clips
from voxfleet_agent.storage import Listing
from voxfleet_agent.storage.listing import SkippedFolder
from voxfleet_api.input_selection import SkippedRow, SkipReason
from voxfleet_api.kinds.job_input import PrefixInput

URI = "file:///data/in/"
OUTPUT = "file:///data/out/job-1"


def select(
    names: list[str],
    *include: str,
    match_case: bool = False,
    output: str = OUTPUT,
    skipped: tuple[SkippedFolder, ...] = (),
) -> PrefixSelection:
    prefix = PrefixInput(uri=URI, include=include or ("*",), match_case=match_case)
    return select_clips(prefix, Listing(names, list(skipped)), output)


def test_patterns_apply_to_the_last_part_of_a_name_and_hidden_files_stay_hidden() -> None:
    names = ["b.wav", "a/c.wav", "a/.x.wav", ".DS_Store", "d.mp3"]
    assert select(names, "*.wav").names == ["a/c.wav", "b.wav"]
    assert select(names).names == ["a/c.wav", "b.wav", "d.mp3"]
    assert select(names, ".*", "d.*").names == [".DS_Store", "a/.x.wav", "d.mp3"]


def test_case_is_ignored_unless_it_is_asked_for() -> None:
    names = ["B.WAV", "a.wav", "c.Wav", "d.mp3"]
    assert select(names, "*.wav").names == ["B.WAV", "a.wav", "c.Wav"]
    assert select(names, "*.WAV").names == ["B.WAV", "a.wav", "c.Wav"]
    exact = select(names, "*.wav", match_case=True)
    assert (exact.names, exact.case_only) == (["a.wav"], 2)


def test_accents_match_in_either_spelling() -> None:
    names = [unicodedata.normalize(form, "Übung é.wav") for form in ("NFC", "NFD")]
    for pattern in names:
        assert select(names, pattern).names == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        "._a.m4a",
        ".hidden.wav",
        ".AppleDouble/a.wav",
        ".Trashes/501/old.wav",
        ".Trash-1000/files/gone.wav",
        "deep/.snapshot/a/b/c.wav",
        "__MACOSX/a.wav",
        "sub/@eaDir/a.wav",
        "#recycle/a.wav",
        "@tmp/a.wav",
        "~snapshot/daily/a.wav",
        "RECYCLER/S-1-5/a.wav",
        "$RECYCLE.BIN/S-1-5/a.wav",
        "System Volume Information/a.wav",
        "lost+found/#12.wav",
        "Thumbs.db",
        "Icon\r",
    ],
)
def test_what_is_hidden_or_a_system_s_own_is_no_clip(name: str) -> None:
    assert select([name, "a.wav"]).skipped == [(name, SkipReason.HIDDEN)]


@pytest.mark.parametrize(
    "name",
    ["...And Justice for All.wav", "..;x.wav", "a.b/c.wav", "a/../b.wav", "./a.wav", "a/./b.wav", "lost found/a.wav"],
)
def test_what_only_looks_hidden_is_a_clip(name: str) -> None:
    assert select([name]).names == [name]


def test_a_hidden_folder_has_no_clips_even_for_a_pattern_with_a_dot() -> None:
    assert select([".Trashes/.a.wav", ".a.wav"], ".*").names == [".a.wav"]


def test_results_are_no_clips() -> None:
    names = ["a.wav", "out/job-1/nonce", "out/job-0/parts/x/1/audio/0.wav", "outside/b.wav"]
    below = select(names, output=f"{URI}out/job-1")
    assert below.names == ["a.wav", "outside/b.wav"]
    assert {reason for _, reason in below.skipped} == {SkipReason.OWN_OUTPUT}
    # The job writes beside its clips: only its own folder is known to be a job's.
    assert select(["a.wav", "job-1/nonce", "job-2/b.wav"], output=f"{URI}job-1").names == ["a.wav", "job-2/b.wav"]


def test_a_name_that_is_not_utf8_is_a_row_of_its_own() -> None:
    selection = select([os.fsdecode(b"\xff.wav"), "a.wav", os.fsdecode(b"\xfe.txt")], "*.wav")
    assert selection.skipped == [("\\xfe.txt", SkipReason.NO_PATTERN_MATCHED)]
    good, bad = PrefixClips(URI, selection.names)
    assert (good.uri, good.problem) == (f"{URI}a.wav", None)
    assert (bad.custom_id, bad.uri) == ("\\xff.wav", None)
    assert bad.problem is not None and "not UTF-8" in bad.problem


def test_a_key_that_ends_in_a_slash_is_a_row_of_its_own() -> None:
    selection = select(["a.wav", "b.wav/", ".c.wav/", "d.txt/"], "*.wav")
    assert selection.skipped == [(".c.wav/", SkipReason.HIDDEN), ("d.txt/", SkipReason.NO_PATTERN_MATCHED)]
    plain, slashed = PrefixClips(URI, selection.names)
    assert (plain.uri, slashed.uri) == (f"{URI}a.wav", None), "an address without the slash is another object"
    assert slashed.problem is not None and "ends in a slash" in slashed.problem


def test_folders_that_were_not_listed_are_counted() -> None:
    skipped = (SkippedFolder("sub", SkipReason.LINKED_FOLDER), SkippedFolder("no", SkipReason.NOT_READABLE))
    selection = select(["a.wav", ".b"], skipped=skipped)
    assert selection.skipped == [
        (".b", SkipReason.HIDDEN),
        ("no/", SkipReason.NOT_READABLE),
        ("sub/", SkipReason.LINKED_FOLDER),
    ]
    assert selection.counts().text == "4 listed, 1 taken, 1 Hidden, 1 LinkedFolder, 1 NotReadable"


@given(
    st.lists(st.text("aA.wW/@é\udcff", min_size=1, max_size=8), max_size=20),
    st.lists(st.sampled_from(["*", "*.w", "a*", ".*", "É*"]), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
def test_every_entry_is_a_clip_or_is_counted_once(names: list[str], include: list[str], match_case: bool) -> None:
    selection = select(names, *include, match_case=match_case)
    counts = selection.counts()
    assert counts.listed == counts.taken + sum(item.entries for item in counts.skipped) == len(set(names))
    assert counts.taken == len(PrefixClips(URI, selection.names))
    assert all(clip.custom_id.encode() for clip in PrefixClips(URI, selection.names))
    assert not any(is_hidden(part) for name in selection.names for part in name.split("/")[:-1])
    for name, reason in selection.skipped:
        assert SkippedRow.model_validate_json(SkippedRow(name=name, reason=reason).line()).name == name
    assert Counter(reason.value for _, reason in selection.skipped) == {
        item.reason: item.entries for item in counts.skipped
    }


def test_nothing_selected_says_what_was_there_without_a_name() -> None:
    names = ["Jane Doe.WAV", "x.WAV", "y.mp3", "call with J.Smith", ".hidden"]
    prefix = PrefixInput(uri=URI, include=("*.wav",), match_case=True)
    said = nothing_selected(prefix, select_clips(prefix, Listing(names), OUTPUT))
    assert said == (
        "it holds 5 entries: 1 hidden, 4 that no pattern matches. No name matches *.wav; what is there ends in"
        " .WAV (2), .mp3 (1), other endings (1). 2 differ in case only: leave matchCase out"
    )
    assert nothing_selected(prefix, select_clips(prefix, Listing(), OUTPUT)) == "it holds no files"


def test_a_name_s_other_spellings_are_those_that_differ() -> None:
    name = "file:///data/é/ü.wav"
    nfd = unicodedata.normalize("NFD", name)
    assert dict(other_spellings("file:///data/plain/a.wav")) == {}
    assert nfd in [address for _, address in other_spellings(name)]
    assert name in [address for _, address in other_spellings(nfd)]
    assert len(list(other_spellings(name))) == 3, "folder and name are spelled apart"
    assert ["(NFD)" in advice for advice, _ in other_spellings("file:///data/ü/")] == [True]


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("file:///data/a%20b.wav", ["file:///data/a b.wav"]),
        ("s3://calls/%C3%BC/a.wav", ["s3://calls/ü/a.wav"]),
        ("s3://calls/100%.wav", []),
        ("file:///data/%FF.wav", []),  # no UTF-8
        ("file:///data/a%00.wav", []),
        ("https://host/a%20b.wav", []),  # the server reads the escape
    ],
)
def test_a_name_with_percent_escapes_is_looked_up_without_them(escaped: str, plain: list[str]) -> None:
    assert [address for _, address in other_spellings(escaped)] == plain
