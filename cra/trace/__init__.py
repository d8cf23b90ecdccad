"""TRACE: what happened. Events, the recorder, verification, replay, diff."""
