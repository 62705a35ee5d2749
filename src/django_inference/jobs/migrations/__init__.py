"""The table of jobs, as it has changed."""
