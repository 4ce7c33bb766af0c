"""The agent: runs attempts on one Mac."""
