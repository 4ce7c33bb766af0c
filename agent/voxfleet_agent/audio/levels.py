"""Compares the level of a clip before and after each conversion. NumPy only.

Channels of opposite phase cancel in their mean: the mix is silent, the words are in the file. The mix of ordinary
recordings is at most 6 dB (one silent channel of two, or two unrelated ones) below the sum of its channels' powers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.header_facts import refused
from voxfleet_api.clip_warnings import RowWarning, WarningCode

LOUD_DECIBELS = -40.0
"""A channel that reaches this level is loud. Speech of the quietest accepted recordings reaches -35."""
SILENT_DECIBELS = -60.0
"""Nothing below this level is audible; the speech detector draws the same line."""
SILENCED_DECIBELS = 30.0
"""A conversion that costs this much leaves nothing that a model could rely on: of -20 dB, it leaves -50."""
QUIETED_DECIBELS = 12.0
"""A conversion that costs this much is worth a warning: twice the 6 dB of one silent channel of two."""
EXAMINED_DECIBELS = 9.0
"""Where the mix is this far below the sum of the channels' powers, speech is looked for in both."""
HUM_FREE_DECIBELS = 12.0
"""By how much quieter the differences of samples are than speech."""
STRETCH_SECONDS = 2.0
STRETCH_SAMPLES = 2**21
"""The most samples of a stretch, all channels together; with many channels, stretches are shorter."""
_WINDOW_SECONDS = 0.1
_RESAMPLED_WINDOW_SECONDS = 1.0
"""Longer than any consonant: all of the energy of an `s` may lie above half of the model's rate."""
_TINY = 1e-12

# Measured on the 32 example clips as mono, dual mono, one silent channel, 20 ms apart, and with uncorrelated noise:
# no 100 ms are more than 6.6 dB below the sum of the powers. The same clips with one channel inverted lose 90 dB and
# more, with an inverted channel of 95, 90 and 50 % of the level 32, 26 and 12 dB, and as mp3 or AAC of 64 kbit/s and
# more at least 35 dB.

Samples = npt.NDArray[np.float32]
Powers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QuietedStretch:
    """A stretch of a clip, at its own rate, in which the mix is much quieter than the channels."""

    start_frame: int
    rate_hz: int
    channel: int
    """The loudest of the stretch; the first is 1."""
    before: Samples
    """That channel, (N,)."""
    after: Samples
    """The mix, (N,)."""


class MixdownLevels:
    """Compares the channels of one clip with their mix, in windows of 100 ms without their constant part (DC)."""

    def __init__(self, rate_hz: int, channels: int, examine: Callable[[QuietedStretch], None]) -> None:
        """`examine` gets every stretch in which a window of the mix is EXAMINED_DECIBELS quieter than the channels."""
        self._rate_hz = rate_hz
        self._examine = examine
        self._window = max(1, int(rate_hz * _WINDOW_SECONDS))
        windows = max(1, min(int(STRETCH_SECONDS / _WINDOW_SECONDS), STRETCH_SAMPLES // channels // self._window))
        self._channels = np.empty((windows * self._window, channels), np.float32)
        self._mix = np.empty(windows * self._window, np.float32)
        self._filled = 0
        self._start = 0
        self._loudest_channel = 0.0
        """Power of the loudest window of any channel, among those that the mix makes quieter."""
        self._loudest_mix = 0.0

    def add(self, block: Samples, mix: Samples) -> None:
        """`block`: (n, channels), `mix`: (n,)."""
        done = 0
        while done < len(mix):
            count = min(len(mix) - done, len(self._mix) - self._filled)
            self._channels[self._filled : self._filled + count] = block[done : done + count]
            self._mix[self._filled : self._filled + count] = mix[done : done + count]
            self._filled += count
            done += count
            if self._filled == len(self._mix):
                self._compare()

    def finish(self) -> None:
        """Compares the rest. Raises VoxFleetError(CONTRACT_VIOLATION) for loud channels whose mix is silent."""
        if self._filled:
            self._compare()
        before, after = decibels(self._loudest_channel), decibels(self._loudest_mix)
        if before >= LOUD_DECIBELS and after < max(SILENT_DECIBELS, before - SILENCED_DECIBELS):
            raise refused(silent_mix("its loudest channel", before, after))

    def _compare(self) -> None:
        channels, mix = self._channels[: self._filled], self._mix[: self._filled]
        mixed = _powers(mix, self._window)
        self._loudest_mix = max(self._loudest_mix, float(mixed.max()))
        # The mean of equal channels is each of them; comparing samples is cheaper than comparing powers.
        if not (channels == channels[:, :1]).all():
            self._compare_channels(channels, mix, mixed)
        self._start += self._filled
        self._filled = 0

    def _compare_channels(self, channels: Samples, mix: Samples, mixed: Powers) -> None:
        total = _channel_powers(channels, self._window)
        examined = (total > _power(SILENT_DECIBELS)) & (total > mixed * _power(EXAMINED_DECIBELS))
        if not examined.any() and not self._cancels_without_hum(channels, mix):
            return
        by_channel = _powers_by_channel(channels, self._window)
        if examined.any():
            by_channel = by_channel[:, examined]
            self._loudest_channel = max(self._loudest_channel, float(by_channel.max()))
        loudest = int(by_channel.sum(axis=1).argmax())
        before = np.ascontiguousarray(channels[:, loudest])
        self._examine(QuietedStretch(self._start, self._rate_hz, loudest + 1, before, mix.copy()))

    def _cancels_without_hum(self, channels: Samples, mix: Samples) -> bool:
        """Whether the mix is quieter above mains hum, which the differences of samples hardly hold."""
        if len(mix) < 2:
            return False
        total = _channel_powers(np.diff(channels, axis=0), self._window)
        mixed = _powers(np.diff(mix), self._window)
        loud = total > _power(SILENT_DECIBELS - HUM_FREE_DECIBELS)
        return bool((loud & (total > mixed * _power(EXAMINED_DECIBELS))).any())


def silent_mix(what: str, before_decibels: float, after_decibels: float) -> str:
    """Why a clip is refused whose mix is silent, as the end of a sentence that begins with the clip."""
    return (
        f"would be silenced by downmix Mean: {what} reaches {before_decibels:.0f} dB, the mix"
        f" {_shown(after_decibels)}, because channels of opposite phase cancel; invert one channel of the file, or keep"
        " only one"
    )


class ResampledLevels:
    """Compares a clip's loudest second with the same second after resampling."""

    def __init__(self) -> None:
        self._before, self._after = 0.0, 0.0

    def add(self, before: Samples, before_hz: int, after: Samples, after_hz: int) -> None:
        """A piece of the clip, (N,), and what resampling made of it, (M,)."""
        powers = _powers(before, int(before_hz * _RESAMPLED_WINDOW_SECONDS))
        resampled = _powers(after, int(after_hz * _RESAMPLED_WINDOW_SECONDS))
        loudest = int(powers.argmax())
        if powers[loudest] > self._before:
            self._before = float(powers[loudest])
            self._after = float(resampled[min(loudest, len(resampled) - 1)])

    def finish(self, conversion: str) -> RowWarning | None:
        """Raises VoxFleetError(CONTRACT_VIOLATION) for a loud clip that resampling silenced."""
        before, after = decibels(self._before), decibels(self._after)
        if before >= LOUD_DECIBELS and after < max(SILENT_DECIBELS, before - SILENCED_DECIBELS):
            raise refused(
                f"would be silenced by {conversion}: its loudest second has {before:.0f} dB before and {_shown(after)}"
                " after, because its sound lies above what the model's rate can hold; look at the rate that its header"
                " states"
            )
        if before < LOUD_DECIBELS or before - after < QUIETED_DECIBELS:
            return None
        return level_lost(f"{conversion} took {before - after:.0f} dB from the loudest second ({before:.0f} dB)")


def level_lost(message: str) -> RowWarning:
    return RowWarning(code=WarningCode.LEVEL_LOST, message=message[:256])


def decibels(power: float) -> float:
    """A power, in decibels of full scale."""
    return 10 * float(np.log10(power + _TINY))


def _shown(level_decibels: float) -> str:
    return "nothing" if level_decibels < -90 else f"{level_decibels:.0f} dB"


def _power(level_decibels: float) -> float:
    return float(10 ** (level_decibels / 10))


def _windows(samples: npt.NDArray[np.float32], window: int) -> npt.NDArray[np.float32]:
    """(k, w, ...): windows of equal length; the last few samples belong to none."""
    count = max(1, len(samples) // window)
    length = len(samples) // count
    return samples[: count * length].reshape(count, length, *samples.shape[1:])


def _powers_by_channel(channels: Samples, window: int) -> Powers:
    """(channels, k): the power of each window of each channel without its constant part."""
    return np.array([_powers(channels[:, channel], window) for channel in range(channels.shape[1])])


def _powers(samples: Samples, window: int) -> Powers:
    """(k,): the power of each window without its constant part. `samples`: (N,), N > 0."""
    return _channel_powers(samples[:, np.newaxis], window)


def _channel_powers(channels: Samples, window: int) -> Powers:
    """(k,): the sum of the channels' powers without their constant parts. `channels`: (N, channels), N > 0."""
    windows = _windows(channels, window)
    count, length, _ = windows.shape
    flat = windows.reshape(count, -1)
    power: Powers = np.vecdot(flat, flat).astype(np.float64) / length
    means: Powers = (np.ones(length, np.float32) @ windows).astype(np.float64) / length
    without: Powers = np.maximum(power - (means**2).sum(axis=1), 0.0)
    return without
