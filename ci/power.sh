#!/usr/bin/env bash
# Folders that a power cut may leave, each opened and held against what was acknowledged. CRA_POWER_STATES: how many (100,000). By name
# only in .ci/run, since it takes half an hour; some of it is in the tests.
. "$(dirname "$0")/common.sh"

"$bin/python" -m tests.fault.power --states "${CRA_POWER_STATES:-100000}" | tee "$out/power.txt"
report "$(tail -n 1 "$out/power.txt")"
