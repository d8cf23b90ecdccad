"""Pure-Python twins, written to be read next to PROTOCOL.md. `cra.hotpath` chooses between them and compiled ones."""
