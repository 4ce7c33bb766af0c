"""What is read of the operator's parts at a scrape."""
