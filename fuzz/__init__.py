"""Campaigns over the fuzz targets of `cra.fuzzing`: all of them in turn, for hours, from the corpora beside this file.
docs/fuzzing.md.

Run as `python -m fuzz`, from a checkout. The targets themselves are part of the package, so that `cra fuzz` has them everywhere.
"""
