"""Which shard goes to which Mac: gather -> order -> filters -> place -> reconcile."""
