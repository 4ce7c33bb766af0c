"""Runs batches of clips through CTC models with exactly the results of one clip at a time.

Only models that mask padding in every layer that mixes frames are supported. Clips are padded to a few lengths, so that
the number of distinct shapes, and thus the memory that MLX caches for them, stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.granite_speech5_ctc.granite_speech5 import (  # type: ignore[import-untyped] # it ships no types
    compute_features,
)
from mlx_audio.stt.models.nemo.alignment import (  # type: ignore[import-untyped] # it ships no types
    AlignedToken,
    sentences_to_result,
    tokens_to_sentences,
)
from mlx_audio.stt.models.parakeet import tokenizer  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.engine.transcripts import Transcript, read_output

_STEPS_PER_OCTAVE = 16
_SMALLEST_STEP_FRAMES = 16


def bucket_frames(frames: int) -> int:
    """The padded length. There are 16 lengths per doubling, so at most one frame in sixteen is padding."""
    step = max(_SMALLEST_STEP_FRAMES, (1 << (max(frames, 1) - 1).bit_length()) // (2 * _STEPS_PER_OCTAVE))
    return -(-frames // step) * step


@dataclass(frozen=True, slots=True)
class Emission:
    """A token and its frames [start, end)."""

    token: int
    start: int
    end: int


def collapse(frames: Sequence[int], blank: int) -> list[Emission]:
    """The tokens of the best path as mlx-audio reads it: equal neighbours are one token, even with blanks in between.

    A token lasts until the next one begins. The last token ends with its last frame, or with the path if it has only
    one frame.
    """
    starts: list[tuple[int, int]] = []
    last_token_frame = -1
    for frame, token in enumerate(frames):
        if token == blank:
            continue
        last_token_frame = frame
        if not starts or starts[-1][0] != token:
            starts.append((token, frame))
    if not starts:
        return []
    ends = [start for _, start in starts[1:]]
    ends.append(last_token_frame + 1 if last_token_frame > starts[-1][1] else len(frames))
    return [Emission(token, start, end) for (token, start), end in zip(starts, ends, strict=True)]


class _Preprocessor(Protocol):
    sample_rate: int
    hop_length: int


class _EncoderConfig(Protocol):
    subsampling_factor: int
    mask_padding: bool


class ParakeetModel(Protocol):
    """The parts of mlx-audio's ParakeetCTC that this module uses."""

    preprocessor_config: _Preprocessor
    encoder_config: _EncoderConfig
    vocabulary: list[str]

    def _log_mel_spectrogram(self, audio_data: mx.array) -> mx.array: ...
    def encoder(self, x: mx.array, lengths: mx.array) -> tuple[mx.array, mx.array]: ...
    def decoder(self, x: mx.array) -> mx.array: ...


class ParakeetCtc:
    """mlx-audio's ParakeetCTC with `encoder.mask_padding`."""

    def __init__(self, model: ParakeetModel) -> None:
        self._model = model
        rate_hz = model.preprocessor_config.sample_rate
        self._frame_seconds = model.encoder_config.subsampling_factor * model.preprocessor_config.hop_length / rate_hz

    def transcribe(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[Transcript]:
        """One transcript per clip of float32 samples (N,) at the model's rate."""
        mels = [self._model._log_mel_spectrogram(mx.array(clip)) for clip in clips]
        frames = [mel.shape[1] for mel in mels]
        padded = bucket_frames(max(frames))
        batch = mx.concatenate([mx.pad(mel, [(0, 0), (0, padded - mel.shape[1]), (0, 0)]) for mel in mels])
        # The last frame of a clip is centred on its end and adds no audio.
        features, lengths = self._model.encoder(batch, mx.array([count - 1 for count in frames]))
        best = mx.argmax(self._model.decoder(features), axis=-1)
        mx.eval(best, lengths)
        return [self._read(path[:count]) for path, count in zip(np.array(best), np.array(lengths), strict=True)]

    def _read(self, path: npt.NDArray[np.integer]) -> Transcript:
        vocabulary = self._model.vocabulary
        tokens = [
            AlignedToken(
                emission.token,
                tokenizer.decode([emission.token], vocabulary),
                emission.start * self._frame_seconds,
                (emission.end - emission.start) * self._frame_seconds,
            )
            for emission in collapse(path.tolist(), blank=len(vocabulary))
            if not tokenizer.is_special_token(emission.token, vocabulary)
        ]
        return read_output(sentences_to_result(tokens_to_sentences(tokens)), TRANSCRIPTION_FAMILIES["parakeet"])


class GraniteEncoderConfig(Protocol):
    num_mel_bins: int
    subsample_layers: list[int]


class GraniteConfig(Protocol):
    encoder_config: GraniteEncoderConfig
    pad_token_id: int


class GraniteTokenizer(Protocol):
    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str: ...


class GraniteModel(Protocol):
    """The parts of mlx-audio's granite_speech5_ctc that this module uses."""

    config: GraniteConfig
    _tokenizer: GraniteTokenizer

    def __call__(self, input_features: mx.array, attention_mask: mx.array) -> mx.array: ...


class GraniteCtc:
    """mlx-audio's granite_speech5_ctc."""

    def __init__(self, model: GraniteModel) -> None:
        self._model = model

    def transcribe(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[Transcript]:
        """One transcript per clip of float32 samples (N,) at the model's rate."""
        encoder = self._model.config.encoder_config
        features = [compute_features(mx.array(clip), num_mel_bins=encoder.num_mel_bins) for clip in clips]
        frames = [feature.shape[0] for feature in features]
        padded = bucket_frames(max(frames))
        batch = mx.stack([mx.pad(feature, [(0, padded - feature.shape[0]), (0, 0)]) for feature in features])
        best = mx.argmax(self._model(batch, mx.arange(padded)[None, :] < mx.array(frames)[:, None]), axis=-1)
        mx.eval(best)
        # Each of these layers halves the number of frames, rounding down.
        shrink = len(encoder.subsample_layers)
        return [self._read(path[: count >> shrink]) for path, count in zip(np.array(best), frames, strict=True)]

    def _read(self, path: npt.NDArray[np.integer]) -> Transcript:
        # Unlike in Parakeet, a blank separates equal tokens.
        changed = np.concatenate([path[:1] == path[:1], path[1:] != path[:-1]])
        tokens: list[int] = path[changed & (path != self._model.config.pad_token_id)].tolist()
        return Transcript(self._model._tokenizer.decode(tokens, skip_special_tokens=True).strip(), language="en")


class ExactBatches(Protocol):
    def transcribe(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[Transcript]: ...


def exact_batches(model: object, family: str) -> ExactBatches | None:
    """The exact batching for a model; None when its family has none."""
    if family == "parakeet" and type(model).__name__ == "ParakeetCTC":
        parakeet: ParakeetModel = model  # type: ignore[assignment] # checked by name; mlx-audio ships no types
        return ParakeetCtc(parakeet) if parakeet.encoder_config.mask_padding else None
    if family == "granite_speech5_ctc":
        granite: GraniteModel = model  # type: ignore[assignment] # checked by name; mlx-audio ships no types
        return GraniteCtc(granite)
    return None
