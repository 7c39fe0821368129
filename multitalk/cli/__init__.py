"""The command line: ``multitalk generate | fetch | bake | verify | doctor | bench``, one module per command.

Each module has ``add_arguments(parser)`` and ``run(args)``, which returns the exit status.
``installation_checks`` and ``weights_checks`` contain what ``doctor`` checks.
"""
