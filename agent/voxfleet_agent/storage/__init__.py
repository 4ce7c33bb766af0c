"""Plain files, S3 and https behind one interface.

Every call takes an absolute URI, checks it against the allow-list and raises VoxFleetError: ACCESS_DENIED,
INPUT_NOT_FOUND, INPUT_CHANGED, INVALID_INPUT (too large, or unsupported by the server), TRANSPORT, THROTTLED. No
message contains an address.
"""

from voxfleet_agent.storage.blocking_calls import in_reader_thread
from voxfleet_agent.storage.http_client import Timeouts
from voxfleet_agent.storage.listing import Listing
from voxfleet_agent.storage.local_paths import require_mounted
from voxfleet_agent.storage.mount_calls import CALL_SECONDS
from voxfleet_agent.storage.mounts import Mounts
from voxfleet_agent.storage.object_store import RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion
from voxfleet_agent.storage.storage import Storage

__all__ = [
    "CALL_SECONDS",
    "Listing",
    "Mounts",
    "ObjectVersion",
    "RangeReader",
    "Storage",
    "Timeouts",
    "in_reader_thread",
    "require_mounted",
]
