"""Where the cases come from: tables written from the text of the protocol, one module a group. `python -m conformance.tables`.

Nothing here imports an implementation: expectations are written down, or computed by a few lines that follow the sentence that
the case quotes. The files it writes, `conformance/cases/*.json`, are what the runner reads.
"""
