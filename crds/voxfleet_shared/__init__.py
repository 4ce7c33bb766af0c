"""What the operator's and the agent's processes share and what is not pure, unlike voxfleet_api."""
