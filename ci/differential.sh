#!/usr/bin/env bash
# The compiled implementation against the reference: whole responses to generated input, with another seed each time; and a broken
# reference, which has to be noticed. CRA_DIFFERENTIAL_CASES: how many (30,000).
. "$(dirname "$0")/common.sh"

"$bin/python" -m conformance.differential --cases "${CRA_DIFFERENTIAL_CASES:-30000}" | tee "$out/differential.txt"
noticed "$out/differential-mutant.txt" "$bin/python" -m conformance.differential --cases 3000 --seed 1 --jobs 1 --mutant denials-ignored
report "$(tail -n 1 "$out/differential.txt"); a broken twin was noticed"
