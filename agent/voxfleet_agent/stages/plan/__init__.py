"""The Plan stage: turns a job's input into a frozen plan."""
