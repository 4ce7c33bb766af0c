"""`voxfleet accept`: tries a Mac with a slice of a job, and records what came of it."""
