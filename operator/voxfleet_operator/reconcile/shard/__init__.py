"""AudioShard."""
