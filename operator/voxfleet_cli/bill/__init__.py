"""`voxfleet bill`: what machine-hours cost, and the proof of it."""
