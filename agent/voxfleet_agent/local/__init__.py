"""A job on this machine without a cluster, and what is done with finished runs."""
