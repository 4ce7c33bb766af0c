"""The VoxFleet API: resource kinds, the operator-agent protocol, result files and the ledger.

Pure: nothing in this package reads a file, a socket or a clock.
"""

GROUP = "voxfleet.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
