"""Synthesize: downloads the voice's reference recording, and uploads synthesized audio files."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from voxfleet_agent.lanes.lane_types import SynthesizedFile
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.stage_context import StageContext, StageScratch
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioEncoding, AudioOutput
from voxfleet_api.kinds.job_task import VoiceReference
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_api.rows import SynthesizedAudioFile

MILLISECONDS_PER_CHARACTER = 60
"""Estimates the length of synthesized audio: people read aloud about 16 characters a second."""

_SAMPLE_BYTES = {AudioEncoding.PCM16: 2, AudioEncoding.PCM24: 3, AudioEncoding.FLOAT32: 4, AudioEncoding.AAC: 2}
_HEADER_BYTES = 2**16
_CHUNK_BYTES = 2**20


def estimated_milliseconds(text: str) -> int:
    return len(text) * MILLISECONDS_PER_CHARACTER


def worst_case_bytes(contract: VoiceContractSpec) -> int:
    """The greatest size of one synthesized file: maxClip at the output's rate, uncompressed, and a header. Pure."""
    audio = contract.output.audio
    frames = duration_milliseconds(contract.input.max_clip) * audio.sample_rate_hz // 1000
    return frames * audio.channels * _SAMPLE_BYTES[audio.encoding] * 102 // 100 + _HEADER_BYTES


async def fetch_reference(ctx: StageContext, retrier: Retrier) -> Path | None:
    """Downloads the reference recording into scratch, for the whole attempt; None when the job names none.

    Raises VoxFleetError naming spec.synthesis.reference.
    """
    reference = None if ctx.spec.synthesis is None else ctx.spec.synthesis.reference
    if reference is None:
        return None
    beside_bytes = worst_case_bytes(ctx.spec.contract)
    return await download_reference(
        reference, ctx.spec.contract, ctx.storage, ctx.scratch, retrier, beside_bytes=beside_bytes
    )


async def download_reference(
    reference: VoiceReference,
    contract: VoiceContractSpec,
    storage: Storage,
    scratch: StageScratch,
    retrier: Retrier,
    *,
    beside_bytes: int = 0,
) -> Path:
    """Downloads a voice's recording into scratch, within what the contract accepts of a clip.

    `beside_bytes`: the largest file that will be reserved beside it.

    Raises VoxFleetError naming spec.synthesis.reference.
    """
    try:
        version = await retrier(lambda: storage.head(reference.uri))
        limit_bytes = quantity_bytes(contract.input.max_clip_bytes)
        if version.size_bytes > limit_bytes:
            raise VoxFleetError(
                FailureClass.INVALID_INPUT,
                f"has {version.size_bytes} bytes; the contract accepts at most {limit_bytes}",
            )
        path = await scratch.reserve_kept("reference", version.size_bytes, beside_bytes)
        await retrier(lambda: storage.download(reference.uri, path, version))
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"spec.synthesis.reference: {error.message}") from error
    return path


async def deliver_audio(
    files: JobFiles, folder: str, index: int, path: Path, synthesized: SynthesizedFile, output: AudioOutput
) -> SynthesizedAudioFile:
    """Uploads a synthesized file under a name with its sha256: a second upload is harmless. Raises VoxFleetError."""
    sha256, size_bytes = await asyncio.to_thread(_sha256_of, path)
    name = f"{folder}/audio/{index:06d}-{sha256}.{output.container.value}"
    await files.write_file(name, path)
    return SynthesizedAudioFile(
        path=name,
        sha256=sha256,
        size_bytes=size_bytes,
        container=output.container.value,
        encoding=output.encoding.value,
        sample_rate_hz=synthesized.sample_rate_hz,
        channels=output.channels,
        chunks=synthesized.chunks,
        interval_milliseconds=synthesized.interval_milliseconds,
    )


def _sha256_of(path: Path) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return digest.hexdigest(), size_bytes
