"""The conformance suite: language-neutral cases of the three protocols, and a runner for any implementation.

`cra conformance` uses it, wherever the package is installed. Nothing else of `cra` imports it. docs/conformance.md.
"""
