"""MacAgent."""
