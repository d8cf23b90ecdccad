"""All cases, in the order of the tables: `CASES`, which these modules fill when they are imported."""

from perf import resolves  # noqa: F401

# isort: split
from perf import operations, shared, stores, throughput  # noqa: F401
from perf.cases import CASES as CASES
