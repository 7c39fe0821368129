"""Startup: from the start of the process until it is ready for jobs."""
