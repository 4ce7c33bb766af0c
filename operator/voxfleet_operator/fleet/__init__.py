"""One session per Mac, over any transport. Only this package connects to agents."""
