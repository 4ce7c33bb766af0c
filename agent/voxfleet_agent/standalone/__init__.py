"""A job on this machine without a cluster, and clips of a finished run once more."""
