"""Importers: from tool lists and API descriptions to an atlas folder a person can edit."""
