"""The agent as a service of the operating system."""
