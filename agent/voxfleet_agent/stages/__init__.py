"""The three kinds of shard work: Plan, Process and Finalize."""
