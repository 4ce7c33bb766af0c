"""The operator: schedules AudioBatchJobs onto Macs."""
