"""The Finalize stage: turns commits into the job's result files."""
