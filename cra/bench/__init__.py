"""How long the runtime takes, call by call: what `cra bench` and the benchmarks in a checkout (`perf/`) both measure with.

Nothing else of `cra` imports it.
"""
