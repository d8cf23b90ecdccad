"""Fuzzing: every door through which bytes from outside come in, as a target with an oracle. docs/fuzzing.md.

`cra fuzz` and the campaigns of a checkout run the targets under Atheris; tests replay inputs through the same targets without it.
Nothing else of the package imports anything from here.
"""
