"""Decodes a clip on disk to samples for the model, through mlx-audio-io.

mlx-audio-io trusts the file's extension, silently returns too little audio for damaged files and passes NaN on. The
clip is therefore decoded under a name that fits its bytes, and the result is checked against the header. The clip is
read in blocks at its own rate: `load(duration=...)` decodes a whole flac or m4a whatever the header hides,
`load(sr=...)` chooses the resampler itself, and `stream(sr=...)` drops the last samples.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio import flac_verification
from voxfleet_agent.audio.clip_warnings import skipped_parts, warnings_of
from voxfleet_agent.audio.conversions import ConversionPlan, Resampler, plan_conversions
from voxfleet_agent.audio.decode_memory import BLOCK_SAMPLES, SPARE_MILLISECONDS
from voxfleet_agent.audio.decoder_agreement import agreed_facts, refuse_other_length, tolerance_frames
from voxfleet_agent.audio.decoder_input import decoder_input
from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, damaged
from voxfleet_agent.audio.headers import contract_violation, duration_violation, inspect_whole
from voxfleet_agent.audio.levels import MixdownLevels, QuietedStretch, ResampledLevels
from voxfleet_agent.audio.windows import WindowRule
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, Windows
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.rows import Attestation

DECODER = f"mlx-audio-io {version('mlx-audio-io')}"
MAX_PEAK = 4.0
"""Lossy codecs exceed 1.0 slightly; a bit-flipped mp3 reaches 18."""

Samples = npt.NDArray[np.float32]


def open_clip(path: Path) -> BinaryIO:
    """Opens a clip. Raises VoxFleetError(DECODE_ERROR) unless it is a regular file: a FIFO would block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise damaged("is not a regular file")
    return os.fdopen(descriptor, "rb")


def open_decoder(path: Path, contract: VoiceContractSpec, model_rate_hz: int) -> AudioDecoder:
    """Inspects a clip and plans its conversions; no audio is read yet.

    Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION).
    """
    with open_clip(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        facts = inspect_whole(file, size_bytes)
        checksum = None
        if facts.container is Container.FLAC:
            ((start, end),) = facts.ranges(size_bytes)
            stream = ClipReader(file, size_bytes).part(start, end)
            flac_verification.refuse_other_rate(stream, facts.sample_rate_hz)
            # The checksum is of all audio, so it says nothing of a part.
            checksum = flac_verification.sample_checksum(stream) if facts.truncation is None else None
    _refuse_violation(facts, size_bytes, contract)
    if facts.other_formats:
        reader = _open_stream(path, facts, chunk_frames=1)
        facts = agreed_facts(facts, reader.sample_rate, reader.channels)
        _refuse_violation(dataclasses.replace(facts, other_formats=()), size_bytes, contract)
    plan = plan_conversions(facts, contract.conversions, model_rate_hz, this_resampler())
    return AudioDecoder(path, facts, contract, plan, model_rate_hz, checksum)


def _refuse_violation(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> None:
    violation = contract_violation(facts, size_bytes, contract)
    if violation is not None:
        raise VoxFleetError(violation.failure_class or FailureClass.CONTRACT_VIOLATION, violation.reason)


def this_resampler() -> Resampler:
    return Resampler(sys.platform, bool(mlx_audio_io.supports_soxr()))


class AudioDecoder:
    """Decodes one clip for the model."""

    def __init__(
        self,
        path: Path,
        facts: HeaderFacts,
        contract: VoiceContractSpec,
        plan: ConversionPlan,
        model_rate_hz: int,
        checksum: flac_verification.SampleChecksum | None = None,
    ) -> None:
        self.facts = facts
        self.piece_starts_milliseconds: list[int] = []
        """The start in the clip of each piece so far."""
        self.warnings = warnings_of(facts)
        """What is worth knowing about the clip; final after the last piece."""
        self._path = path
        self._contract = contract
        self._plan = plan
        self._model_rate_hz = model_rate_hz
        self._checksum = checksum
        self._mixdown_levels: MixdownLevels | None = None
        self._resampled_levels = ResampledLevels()
        self._frames = 0
        self._limit_frames = (
            (duration_milliseconds(contract.input.max_clip) + SPARE_MILLISECONDS) * facts.sample_rate_hz // 1000
        )
        if facts.frames is not None:
            self._limit_frames = min(self._limit_frames, facts.frames + tolerance_frames(facts) + 1)

    @property
    def audio_milliseconds(self) -> int:
        """The duration as stored in the file, before any conversion; final after the last piece."""
        return self._frames * 1000 // self.facts.sample_rate_hz

    @property
    def attestation(self) -> Attestation:
        """How the clip was decoded and converted; final after the last piece."""
        attested = self._plan.attested
        windows = self._contract.conversions.windows
        if windows is not None and len(self.piece_starts_milliseconds) > 1:
            count = len(self.piece_starts_milliseconds)
            attested += (f"windows:{windows.length}:quietest-within-{windows.seek}:{count}",)
        return Attestation(
            container=self.facts.container,
            encoding=self.facts.encoding,
            sample_rate_hz=self.facts.sample_rate_hz,
            channels=self.facts.channels,
            conversions=attested,
            decoder=DECODER,
            skipped=skipped_parts(self.facts),
        )

    def pieces(self, examine: Callable[[QuietedStretch], None] = lambda stretch: None) -> Iterator[Samples]:
        """Yields (N,) float32, one channel at the model's rate: the whole clip, or the declared windows in order.

        `examine` gets each stretch that the mix makes much quieter; what it raises ends the iteration. Call it once.
        Raises VoxFleetError(CONTRACT_VIOLATION | DECODE_ERROR), possibly after some pieces, because the clip's length
        is known only at its end, and so is whether a conversion has silenced it.
        """
        facts = self.facts
        if facts.channels > 1:
            self._mixdown_levels = MixdownLevels(facts.sample_rate_hz, facts.channels, examine)
        windows = self._contract.conversions.windows
        if windows is None or self._fits_in(windows):
            yield self._whole_clip()
        else:
            yield from self._windows(WindowRule.of(windows, facts.sample_rate_hz))
        if self._plan.resample is not None:
            lost = self._resampled_levels.finish(self._plan.attested[-1])
            self.warnings += () if lost is None else (lost,)

    def _fits_in(self, windows: Windows) -> bool:
        length_frames = duration_milliseconds(windows.length) * self.facts.sample_rate_hz // 1000
        return self.facts.frames is not None and self._limit_frames <= length_frames

    def _whole_clip(self) -> Samples:
        # Pages that no audio is written to take no memory.
        samples = np.empty(self._limit_frames, np.float32)
        for block in self._blocks():
            self._mix_down(block, samples[self._frames - len(block) : self._frames])
        self._check_decoded()
        return self._piece(0, samples[: self._frames])

    def _windows(self, rule: WindowRule) -> Iterator[Samples]:
        samples = np.empty(rule.ahead_frames + BLOCK_SAMPLES, np.float32)
        start, filled = 0, 0
        for block in self._blocks():
            self._mix_down(block, samples[filled : filled + len(block)])
            filled += len(block)
            while filled > rule.ahead_frames:
                end = rule.end(samples[: rule.ahead_frames])
                yield self._piece(start, samples[:end].copy())
                samples[: filled - end] = samples[end:filled].copy()
                start, filled = start + end, filled - end
        self._check_decoded()
        while filled > 0:
            end = rule.end(samples[:filled])
            yield self._piece(start, samples[:end].copy())
            samples[: filled - end] = samples[end:filled].copy()
            start, filled = start + end, filled - end

    def _blocks(self) -> Iterator[Samples]:
        """Yields blocks, (n, channels) float32, as stored, finite and within MAX_PEAK."""
        facts = self.facts
        reader = _open_stream(self._path, facts, min(self._limit_frames, max(1, BLOCK_SAMPLES // facts.channels)))
        agreed_facts(dataclasses.replace(facts, other_formats=()), reader.sample_rate, reader.channels)
        # Apple's decoder removes the delay itself.
        delay_frames = 0 if sys.platform == "darwin" else facts.priming_frames
        while not reader.at_eof():
            with _decode_errors(
                f"the decoder finds no valid {facts.encoding} behind sample {self._frames} of each channel"
            ):
                chunk, _ = reader.read_chunk()
            block: Samples = np.asarray(chunk)
            if len(block) == 0:
                return
            skipped = min(delay_frames, len(block))
            delay_frames -= skipped
            block = block[skipped:]
            if len(block) == 0:
                continue
            self._frames += len(block)
            if self._frames > self._limit_frames:
                self._check_length()
                raise damaged("decodes to more audio than its header announces")
            _check_level(block)
            if self._checksum is not None:
                self._checksum.add(block)
            yield block

    def _mix_down(self, block: Samples, into: Samples) -> None:
        np.copyto(into, block[:, 0])
        for channel in range(1, block.shape[1]):
            into += block[:, channel]
        if block.shape[1] > 1:
            into /= np.float32(block.shape[1])
        if self._mixdown_levels is not None:
            self._mixdown_levels.add(block, into)

    def _piece(self, start_frame: int, samples: Samples) -> Samples:
        self.piece_starts_milliseconds.append(start_frame * 1000 // self.facts.sample_rate_hz)
        resample = self._plan.resample
        if resample is None:
            return samples
        with _decode_errors(f"{len(samples)} samples cannot be resampled to {self._model_rate_hz} Hz"):
            resampled = mlx_audio_io.resample(
                samples, self.facts.sample_rate_hz, self._model_rate_hz, quality=resample.quality.value
            )
        resampled = np.asarray(resampled).reshape(-1)
        self._resampled_levels.add(samples, self.facts.sample_rate_hz, resampled, self._model_rate_hz)
        return resampled

    def _check_decoded(self) -> None:
        self._check_length()
        if self._checksum is not None:
            self._checksum.verify()
        if self._mixdown_levels is not None:
            self._mixdown_levels.finish()

    def _check_length(self) -> None:
        facts = self.facts
        refuse_other_length(facts, self._frames)
        # A length that the header states was checked before; AAC's padding does not violate the contract.
        violation = None if facts.frames is not None else duration_violation(self.audio_milliseconds, self._contract)
        if violation is not None:
            raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, violation.reason)


def _open_stream(path: Path, facts: HeaderFacts, chunk_frames: int) -> mlx_audio_io.AudioStreamReader:
    with (
        _decode_errors(f"the decoder finds no {facts.encoding} in this {facts.container} file"),
        decoder_input(path, facts, Path(tempfile.gettempdir())) as named,
    ):
        # The reader keeps the file open, so its name may go.
        return mlx_audio_io.stream(named, chunk_frames=chunk_frames)


@contextlib.contextmanager
def _decode_errors(what: str) -> Iterator[None]:
    """Says what is known of the clip: the decoder's own words name files, and functions of its own."""
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise damaged(f"cannot be decoded: {what}") from error


def _check_level(block: Samples) -> None:
    """max and min propagate NaN and do not copy the block."""
    peak = max(abs(float(block.max())), abs(float(block.min())))
    if not np.isfinite(peak):
        raise damaged("holds samples that are not finite numbers")
    if peak > MAX_PEAK:
        raise damaged(f"holds samples beyond {MAX_PEAK:g} times full scale, which is damage")
