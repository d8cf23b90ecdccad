"""The targets, one module each: what comes in by a door, and what has to hold of it."""
