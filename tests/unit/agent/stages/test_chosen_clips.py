"""Clips that are chosen by their indexes: which, in which order, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.plan.chosen_clips import ChosenInput, chosen_indexes
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.plan.packed_clips import PackedClips
from voxfleet_agent.stages.plan.source_clips import clip_again, require_all_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import encode
from voxfleet_api.rows import ClipStatus, ManifestRow, RowError

TEN = [InputClip(f"c{number}", f"file:///in/c{number}.wav") for number in range(10)]


@given(st.sets(st.integers(0, 9), min_size=1))
def test_the_chosen_clips_keep_their_order_and_know_where_they_stood(chosen: set[int]) -> None:
    clips = ChosenInput(TEN, chosen_indexes("spec.only", encode(chosen), len(TEN), "the input"))
    assert [clip.custom_id for clip in clips] == [f"c{number}" for number in sorted(chosen)]
    assert [clip.source_index for clip in clips] == sorted(chosen)
    assert [clip.source_index for clip in clips[1:]] == sorted(chosen)[1:]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ("3,10", "spec.only names clip 10, but the input has 10 clips: 0 to 9"),
        ("9-12", "spec.only names clip 12, but the input has 10 clips: 0 to 9"),
        ("7,3", "spec.only: '3' must ascend"),
        ("3-1", "spec.only: '3-1' must ascend"),
        ("1,1", "spec.only: '1' must ascend"),
    ],
)
def test_wrong_indexes_are_refused_with_the_number_of_clips(ranges: str, message: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        chosen_indexes("spec.only", ranges, len(TEN), "the input")
    assert caught.value.failure_class is FailureClass.INVALID_INPUT and caught.value.message.startswith(message)


def test_a_clip_of_another_kind_than_selected_is_named() -> None:
    require_all_of([1, 2], [1, 2, 3], ClipStatus.FAILED)
    with pytest.raises(VoxFleetError, match=r"are not such that failed: 4,7;"):
        require_all_of([1, 4, 7], [1, 2, 3], ClipStatus.FAILED)


clips = st.builds(
    InputClip,
    st.text(min_size=1, max_size=5),
    *([st.none() | st.text(max_size=5)] * 5),
    st.none() | st.integers(0, 10**6),
)


@given(st.lists(clips, max_size=5))
def test_packed_clips_are_what_was_packed(given_clips: list[InputClip]) -> None:
    packed = PackedClips()
    for clip in given_clips:
        packed.append(clip)
    assert [*packed] == given_clips == packed[:] and len(packed) == len(given_clips)


def test_a_clip_that_runs_again_is_pinned_to_its_version_and_no_address_is_made_up() -> None:
    row = ManifestRow(index=7, custom_id="a", uri="file:///in/a.wav", etag="v1", sha256="a" * 64)
    assert clip_again(row) == InputClip("a", "file:///in/a.wav", "a" * 64, etag="v1", source_index=7)
    nameless = ManifestRow(
        index=8, custom_id="b", refusal=RowError(failure_class=FailureClass.INVALID_INPUT, reason="rename it")
    )
    assert clip_again(nameless) == InputClip("b", problem="rename it", source_index=8)
