"""One session per Mac: the only place that dials out."""
