"""The build; everything is in `pyproject.toml`. Compiled extensions will be declared here."""

from setuptools import setup

setup()
