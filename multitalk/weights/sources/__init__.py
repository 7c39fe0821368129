"""What to fetch: the published files (``catalogue``), pinned and hashed (``lock``)."""
