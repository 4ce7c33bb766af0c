"""Who may call an endpoint."""
