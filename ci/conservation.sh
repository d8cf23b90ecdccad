#!/usr/bin/env bash
# What goes in comes out or is counted, in every mode; the long run, of 100 million records, is `python -m tests.fault.conservation`.
. "$(dirname "$0")/common.sh"

"$bin/python" -m tests.fault.conservation --records "${CRA_CONSERVATION_RECORDS:-3000000}" | tee "$out/conservation.txt"
