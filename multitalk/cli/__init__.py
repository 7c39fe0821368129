"""The command line: ``multitalk generate | fetch | bake | verify | doctor | bench``."""
