"""Which shard goes to which Mac. Pure: no I/O and no clock."""
