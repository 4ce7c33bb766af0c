"""The Process stage: from a shard's clips to parts and one commit."""
