"""Policy tests: what an atlas is to decide, written as YAML or JSON in its `tests/` folder (docs/testing-atlases.md)."""
