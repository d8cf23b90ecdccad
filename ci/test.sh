#!/usr/bin/env bash
# `make test`, as the README has it, with the thorough Hypothesis profile.
. "$(dirname "$0")/common.sh"

export CRA_TEST_PROFILE=thorough
make --no-print-directory test | tee "$out/test.txt"
report "$(tail -n 1 "$out/test.txt" | tr -d '=' | sed 's/^ *//; s/ *$//')"
