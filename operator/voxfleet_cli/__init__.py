"""The command line that people use."""
