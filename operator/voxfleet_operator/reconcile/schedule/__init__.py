"""AudioBatchSchedule."""
