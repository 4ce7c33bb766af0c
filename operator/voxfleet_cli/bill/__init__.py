"""`voxfleet bill`: what machine-hours cost, whether that is true, and what finance gets."""
