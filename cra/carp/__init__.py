"""CARP: what is allowed. Requests, policies, conditions, context, plans, resolutions."""
