"""The Process stage: turns a shard's clips into parts and one commit."""
