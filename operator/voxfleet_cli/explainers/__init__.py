"""What `voxfleet why` says of an object: one module a kind, found by its `EXPLAINER`."""
