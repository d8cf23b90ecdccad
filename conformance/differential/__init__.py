"""The compiled implementation against the reference, on whole responses and generated input.

`python -m conformance.differential` runs it; docs/conformance.md, Differential, has the tour. The generators `wild`, `typed` and
`tiny` make episodes, which are plain JSON; two processes, one for each implementation, play them (`worker`); `campaign` compares
what they answer and has disagreements made small.
"""
