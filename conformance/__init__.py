"""What stands behind the suite in `cra.conformance`, from a checkout: the tables that the cases are written from, mutants that
the cases have to catch, the differential run, and a second reader of journals. docs/conformance.md.
"""
