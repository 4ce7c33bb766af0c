"""Models of the Hugging Face hub, kept in the model cache. Does not import MLX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxfleet_agent.models.cache import ModelCache
from voxfleet_agent.models.model_files import PATTERNS, unavailable
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import HubModel


def cache_name(hub: HubModel) -> str:
    return f"hub/models--{hub.id.replace('/', '--')}"


@contextmanager
def fetched_snapshot(hub: HubModel, cache: ModelCache) -> Iterator[tuple[Path, str]]:
    """The snapshot's folder and its commit; it stays until the block ends, and longer when the cache holds it.

    A snapshot that the cache already has is used when the hub is away. No token is sent, whatever this account has: a
    job must not read models on somebody else's behalf. Raises VoxFleetError(MODEL_UNAVAILABLE | SCRATCH_EXHAUSTED).
    """
    with cache.room(cache_name(hub), _coming_bytes(hub, cache)):
        folder = Path(str(_download(hub, cache, dry_run=False)))
        yield folder, folder.name


def _coming_bytes(hub: HubModel, cache: ModelCache) -> int:
    try:
        planned = _download(hub, cache, dry_run=True)
    except VoxFleetError:
        return 0  # nothing can come; what the cache has may do
    return sum(file.file_size for file in planned if file.will_download) if isinstance(planned, list) else 0


def _download(hub: HubModel, cache: ModelCache, *, dry_run: bool) -> object:
    from huggingface_hub import snapshot_download  # slow to import, and most jobs do not need it
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # they would stand between the log's lines
    try:
        return snapshot_download(
            hub.id,
            revision=hub.revision,
            cache_dir=cache.hub,
            allow_patterns=list(PATTERNS),
            token=False,
            dry_run=dry_run,
        )
    # The hub's errors share no base class; what they have in common is that the model did not come.
    except Exception as error:
        raise unavailable(
            f"the hub model {hub.id} at {hub.revision} could not be fetched ({type(error).__name__});"
            " check its name and revision and that this Mac reaches the hub, or use model.path"
        ) from error
