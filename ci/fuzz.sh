#!/usr/bin/env bash
# Every fuzz target: its committed corpus, then some seconds of fuzzing. A look whether all is well; campaigns are `python -m fuzz campaign`.
# Where Atheris has no wheel, the corpora are all there is. CRA_FUZZ_SECONDS: how long a target is fuzzed.
. "$(dirname "$0")/common.sh"

"$bin/python" -m fuzz replay | tee "$out/fuzz-replay.txt"
replayed=$(tail -n 1 "$out/fuzz-replay.txt")
if ! "$bin/python" -c 'import atheris' 2>/dev/null; then
    report "$replayed; not fuzzed: Atheris has no wheel for this Python here"
    exit 0
fi
"$bin/python" -m fuzz smoke --seconds "${CRA_FUZZ_SECONDS:-2}" | tee "$out/fuzz-smoke.txt"
report "$(tail -n 1 "$out/fuzz-smoke.txt"); corpora: $replayed"
