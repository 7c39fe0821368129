"""From a process's first instant to ready."""
