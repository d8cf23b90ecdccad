"""Atlases: what exists. Types, loading, lint, the registry that caches them, and importers."""
