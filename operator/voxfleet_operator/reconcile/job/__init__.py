"""AudioBatchJob."""
