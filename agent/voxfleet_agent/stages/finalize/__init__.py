"""The Finalize stage: from commits to the job's result files."""
