"""`voxfleet report`: a job or a month as one HTML file."""
