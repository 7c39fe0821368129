"""Changes to, and uses of, the private parts of other libraries: one module per library.

Each module's ``PINNED`` names the versions that its patches were written for. A test fails when an installed
version differs, so that every patch is reviewed with an update.
"""
