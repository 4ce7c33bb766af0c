"""The Plan stage: from a job's input to a frozen plan."""
