"""Models from the Hugging Face hub, stored in the model cache. Does not import MLX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxfleet_agent.models.model_cache import ModelCache
from voxfleet_agent.models.model_files import PATTERNS, unavailable
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import HubModel


def cache_name(hub: HubModel) -> str:
    return f"hub/models--{hub.id.replace('/', '--')}"


@contextmanager
def fetched_snapshot(hub: HubModel, cache: ModelCache) -> Iterator[tuple[Path, str]]:
    """Yields (the snapshot's folder, its commit). Both stay until the block ends, and longer if the cache pins them.

    A snapshot that is already cached is used when the hub is unreachable. No token is sent, even if this account has
    one, so a job cannot read another account's models. Raises VoxFleetError(MODEL_UNAVAILABLE | SCRATCH_EXHAUSTED).
    """
    with cache.reserve(cache_name(hub), _download_bytes(hub, cache)):
        folder = Path(str(_download(hub, cache, dry_run=False)))
        yield folder, folder.name


def _download_bytes(hub: HubModel, cache: ModelCache) -> int:
    try:
        planned = _download(hub, cache, dry_run=True)
    except VoxFleetError:
        return 0  # nothing will be downloaded; a cached snapshot may suffice
    return sum(file.file_size for file in planned if file.will_download) if isinstance(planned, list) else 0


def _download(hub: HubModel, cache: ModelCache, *, dry_run: bool) -> object:
    from huggingface_hub import snapshot_download  # slow to import, and most jobs do not need it
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # they would appear between the log's lines
    try:
        return snapshot_download(
            hub.id,
            revision=hub.revision,
            cache_dir=cache.hub,
            allow_patterns=list(PATTERNS),
            token=False,
            dry_run=dry_run,
        )
    # The hub's errors share no base class; any of them means that the model was not fetched.
    except Exception as error:
        raise unavailable(
            f"the hub model {hub.id} at {hub.revision} could not be fetched ({type(error).__name__});"
            " check its name and revision and that this Mac reaches the hub, or use model.path"
        ) from error
