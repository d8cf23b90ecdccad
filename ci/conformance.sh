#!/usr/bin/env bash
# The language-neutral cases: they are what their tables say, and our adapter passes all of them on both paths. And they notice: every
# mutant of our implementation fails one.
. "$(dirname "$0")/common.sh"

"$bin/python" -m conformance.tables --check
"$bin/python" -m cra conformance run | tee "$out/conformance-compiled.txt"
head -n 2 "$out/conformance-compiled.txt" | grep -q 'cra (compiled)'
CRA_REQUIRE_COMPILED=0 CRA_PURE_PYTHON=1 "$bin/python" -m cra conformance run | tee "$out/conformance-pure.txt"
head -n 2 "$out/conformance-pure.txt" | grep -q 'cra (pure)'
"$bin/python" -m conformance.mutants | tee "$out/mutants.txt"
report "compiled and pure: $(sed -n 's/ without an answer.*/ without an answer/p' "$out/conformance-compiled.txt"), $(tail -n 1 "$out/mutants.txt")"
