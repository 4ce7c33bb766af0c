"""What mlx-audio-io's resampler really does under each of its quality names, platform by platform.

Grounds: mlx-audio-io 1.3.24. On Linux the names without soxr all run the same linear interpolation, which lets
frequencies above the new band through at -4 dB; soxr_hq and soxr_vhq are the soxr library wherever it is built in. On
macOS the other names are settings of Apple's AudioConverter: fastest is its Min, low, medium and high are called the
same there, best is its Max. Those were read from the source and are not tested on a Mac.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.facts import refused
from voxfleet_api.kinds.contract_input import ResampleQuality

_SOXR = (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)
_LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Resampler:
    """What resamples on this machine."""

    platform: str
    """As sys.platform says it."""
    soxr: bool
    """Whether mlx-audio-io was built with soxr."""

    def runs(self, quality: ResampleQuality) -> str:
        """The algorithm that a quality name stands for here, as rows attest it.

        Raises VoxFleetError(CONTRACT_VIOLATION) for a name that means less here than it says.
        """
        if quality in _SOXR:
            if not self.soxr:
                raise refused(
                    f"would be resampled with {quality}, and this machine's mlx-audio-io was built without soxr;"
                    " install libsoxr and build mlx-audio-io again"
                )
            return quality.value
        if self.platform == "darwin":
            return f"apple-{quality}"
        if quality is ResampleQuality.FASTEST:
            return _LINEAR
        raise refused(
            f"would be resampled with {quality}, which is plain linear interpolation on this platform;"
            " write conversions.resample.quality: soxr_vhq, or fastest to accept linear interpolation"
        )
