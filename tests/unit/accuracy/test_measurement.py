"""What takes and texts add up to, and which goals hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from voxfleet_accuracy.borders import ends_of
from voxfleet_accuracy.heard import Heard, Results, TimedWord
from voxfleet_accuracy.measurement import measure
from voxfleet_accuracy.sounds import SpokenPart
from voxfleet_accuracy.takes import GivenPath, Take
from voxfleet_agent.audio.windows import WindowRule

WHOLE, SHORT = GivenPath.WHOLE, GivenPath.WINDOWS_30


def take(name: str, text: str | None, *paths: GivenPath, parts: tuple[SpokenPart, ...] = ()) -> Take:
    return Take(name, f"group {name}", name, Path(f"{name}.wav"), 60.0, text, parts, paths or (WHOLE,))


def heard(text: str, *starts: float, failure_class: str | None = None, warnings: tuple[str, ...] = ()) -> Heard:
    times = starts or tuple(float(number) for number in range(len(text.split())))
    words = tuple(TimedWord(word, start, start + 0.5) for word, start in zip(text.split(), times, strict=True))
    return Heard(text, words, (), failure_class, warnings)


def test_both_sides_are_scored_on_the_same_takes_and_unknown_words_are_not() -> None:
    takes = [take("a", "one two three four"), take("b", "five six", WHOLE, SHORT), take("c", None)]
    results: Results = {
        (WHOLE, "a"): heard("one two three four"),
        (None, "a"): heard("one two three"),
        (WHOLE, "b"): heard("", failure_class="TruncatedOutput"),
        (SHORT, "b"): heard("five six"),
        (None, "b"): heard("five six"),
        (WHOLE, "c"): heard("what"),
        (None, "c"): heard("what"),
    }
    measured = measure(takes, results, {}, str)
    assert [(line.group, line.path, line.product.errors, line.upstream.errors) for line in measured.lines] == [
        ("group a", WHOLE, 0, 1),
        ("group b", WHOLE, 2, 0),
        ("group c", WHOLE, 0, 0),
        ("group b", SHORT, 0, 0),
    ]
    assert [(total.group, total.product.words, total.holds) for total in measured.totals] == [
        ("total, whole", 6, False),
        ("total, windows 30 s", 2, True),
        ("total", 8, False),
    ]
    assert measured.totals[-1].equal_texts == 2 and measured.totals[-1].failed == {"TruncatedOutput": 1}
    assert measured.false_quarantines == ("b, whole: TruncatedOutput",) and measured.spoken_takes == 4


def test_an_invented_text_holds_only_with_a_warning_or_a_class() -> None:
    takes = [take(name, "") for name in ("still", "warned", "refused", "invented", "shorter")]
    ours = {
        "still": heard(""),
        "warned": heard("thank you", warnings=("NoAudibleSpeech",)),
        "refused": heard("", failure_class="TruncatedOutput"),
        "invented": heard("thank you"),
        "shorter": heard("thank you", warnings=("TruncatedAudio",)),
    }
    results: Results = {
        **{(WHOLE, name): answer for name, answer in ours.items()},
        **{(None, name): heard("you") for name in ours},
    }
    measured = measure(takes, results, {}, str)
    assert [line.holds for line in measured.unspoken] == [True, True, True, False, False]
    assert measured.unspoken[-1].told == ()
    assert measured.totals[-1].takes == 0


def test_a_word_in_a_gap_needs_a_warning_too() -> None:
    silent = replace(take("a", "one two", WHOLE, SHORT), gap_seconds=(1.0, 31.0))
    results: Results = {
        (WHOLE, "a"): heard("one you two", 0.5, 15.0, 31.0),
        (SHORT, "a"): heard("one you two", 0.5, 15.0, 31.0, warnings=("NoAudibleSpeech",)),
        (None, "a"): heard("one two", 0.5, 31.0),
    }
    measured = measure([silent], results, {}, str)
    assert [(line.path, line.product, line.upstream, line.holds) for line in measured.unspoken] == [
        (WHOLE, "you", "", False),
        (SHORT, "you", "", True),
    ]
    assert measured.false_warnings == ()


def test_a_warning_that_nobody_spoke_is_false_where_somebody_does() -> None:
    silent = replace(take("gap", "one two"), gap_seconds=(1.0, 31.0))
    takes = [take("a", "one two"), take("b", "one two"), silent]
    said = heard("one two", 0.5, 31.0, warnings=("RepeatedText",))
    results: Results = {
        **{(WHOLE, name): said for name in ("a", "gap")},
        (WHOLE, "b"): heard("one two", warnings=("BytesSkipped",)),
        **{(None, name): heard("one two") for name in ("a", "b", "gap")},
    }
    assert measure(takes, results, {}, str).false_warnings == ("a, whole: RepeatedText", "gap, whole: RepeatedText")


def test_words_around_a_gap_are_timed_by_the_same_recording_without_it() -> None:
    """A model that hears 30 s of silence may place the words before it there, and that is no time to compare with."""
    silent = replace(take("gap", "one two", WHOLE, SHORT), gap_seconds=(1.0, 31.0), without_gap="a")
    results: Results = {
        (WHOLE, "gap"): heard("one two", 0.5, 31.25),
        (SHORT, "gap"): heard("one two", 0.5, 29.0),
        (None, "gap"): heard("one two", 20.0, 31.0),
        (None, "a"): heard("one two", 0.5, 1.25),
    }
    whole, short = measure([silent], results, {}, str).times
    assert (whole.words, whole.p95, whole.holds) == (2, 0.0, True)
    assert (whole.known_starts, whole.p95_known_start) == (2, 0.0) and whole.p95_upstream_known_start > 18
    assert short.p95 > 2 and not short.holds
    unheard = {key: answer for key, answer in results.items() if key != (None, "a")}
    assert [line.words for line in measure([silent], unheard, {}, str).times] == [0, 0]


def test_what_is_said_in_a_language_that_the_model_does_not_know_is_told_apart() -> None:
    french = replace(take("fr", None), language="fr")
    results: Results = {
        (WHOLE, "fr"): heard("", failure_class="TruncatedOutput"),
        (WHOLE, "es"): heard("a test", warnings=("NoAudibleSpeech",)),
        **{(None, name): heard("a test") for name in ("fr", "es")},
    }
    takes = [french, replace(french, name="es", language="es")]
    measured = measure(takes, results, {}, str, {"en"})
    assert measured.foreign == ("fr, whole: TruncatedOutput", "es, whole: a text")
    assert (measured.spoken_takes, measured.false_quarantines, measured.false_warnings) == (0, (), ())
    for languages in ({"en", "fr", "es"}, None):
        measured = measure(takes, results, {}, str, languages)
        assert measured.false_quarantines == ("fr, whole: TruncatedOutput",) and measured.foreign == ()
        assert measured.false_warnings == ("es, whole: NoAudibleSpeech",) and measured.spoken_takes == 2


def test_errors_near_the_ends_of_windows_are_compared_at_the_same_places() -> None:
    parts = (SpokenPart("one two three", 0.0, 3.0), SpokenPart("four five six", 28.0, 31.0))
    takes = [take("a", "one two three four five six", WHOLE, SHORT, parts=parts)]
    results: Results = {
        (WHOLE, "a"): heard("one two three four five six", 0, 1, 2, 28, 29, 30),
        (SHORT, "a"): heard("one two three four six", 0, 1, 2, 28, 30),
        (None, "a"): heard("two three four five six", 1, 2, 28, 29, 30),
    }
    (line,) = measure(takes, results, {(SHORT, "a"): [29.5]}, str).borders
    assert (line.borders, line.product, line.upstream, line.holds) == (1, 1, 0, False)
    untimed: Results = {**results, (SHORT, "a"): Heard("one two three four five six", None)}
    measured = measure(takes, untimed, {(SHORT, "a"): [29.5]}, str)
    assert measured.borders == () and [times.untimed for times in measured.times] == [0, 1]
    assert measured.borders_unknown == ("a, windows 30 s",) and measured.cut_takes == 1
    (unknown, uncut) = measure(takes, results, {}, str), measure(takes, results, {(SHORT, "a"): []}, str)
    assert unknown.borders_unknown == ("a, windows 30 s",)
    assert not uncut.borders[0].holds and uncut.borders_unknown == ()


def test_times_that_are_missing_or_wrong_do_not_hold() -> None:
    takes = [take("a", "one two"), take("b", "one")]
    results: Results = {
        (WHOLE, "a"): heard("one two", 1.0, 0.5),
        (WHOLE, "b"): Heard("one", None),
        (None, "a"): heard("one two", 1.0, 1.5),
        (None, "b"): heard("one"),
    }
    (line,) = measure(takes, results, {}, str).times
    assert len(line.faults) == 1 and line.untimed == 1 and not line.holds
    assert line.p95 > 0.9


def test_known_starts_are_what_is_compared_with_and_mlx_audios_elsewhere() -> None:
    parts = (SpokenPart("one two", 1.0, 2.0), SpokenPart("three four", 5.0, 6.0))
    results: Results = {
        (WHOLE, "a"): heard("one two three four", 1.0, 1.5, 5.0, 5.5),
        (None, "a"): heard("one two three four", 0.0, 1.25, 4.0, 5.25),
    }
    (line,) = measure([take("a", "one two three four", parts=parts)], results, {}, str).times
    assert (line.words, line.p50, line.known_starts) == (4, 0.125, 2) and line.p95 <= 0.25
    assert (line.p95_known_start, line.p95_upstream_known_start) == (0.0, 1.0)


def test_no_goal_holds_where_nothing_was_compared() -> None:
    takes = [take("a", "one two")]
    results: Results = {(WHOLE, "a"): heard(""), (None, "a"): heard("one two")}
    measured = measure(takes, results, {}, str)
    assert measured.times[0].faults == () and not measured.times[0].holds
    nothing = measure([take("b", None)], {(WHOLE, "b"): heard("one"), (None, "b"): heard("one")}, {}, str)
    assert nothing.times[0].holds and not nothing.totals[-1].holds


def test_windows_end_where_the_rule_says_and_the_last_end_is_the_files() -> None:
    samples = np.full(2_500, 0.5, dtype=np.float32)
    samples[890:910] = 0.0
    rule = WindowRule(length_frames=1_000, seek_frames=200, quiet_frames=20, rest_frames=50)
    ends = ends_of(samples, rule)
    assert 890 <= ends[0] <= 910 and len(ends) == 2
