"""`voxfleet plan`: what would become of a job, without running anything."""
