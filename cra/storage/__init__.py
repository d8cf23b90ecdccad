"""Where events are kept: the protocol for backends, and the backends."""
