"""Runs a job on this machine without a cluster, and reruns clips of a finished run."""
