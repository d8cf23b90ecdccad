"""The conformance suite: language-neutral cases of the three protocols, and a runner for any implementation."""
