#!/usr/bin/env bash
# Proof that the performance gate gates: in a copy of this tree, a patch that makes a resolve a tenth slower fails the comparison of
# instructions, and one that changes nothing passes ten times in a row. By name only, since it proves the gate and not a change.
#   ci/perf-gate-proof.sh [TIMES]
. "$(dirname "$0")/common.sh"

need valgrind valgrind
times=${1:-10}
copy="$out/perf-proof"
rm -rf "$copy" "$out/perf-proof.json"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done |
    xargs -0 cp --parents --target-directory="$copy"

count() { (cd "$copy" && "$bin/python" -m perf.instructions --implementation compiled --only "resolve 5" "resolve 117" --baseline "$out/perf-proof.json" "$@"); }

bash ci/build-copy.sh "$copy"
count --update-baseline
cp "$copy/cra/_compiled/session.pxi" "$out/session.pxi"

(cd "$copy" && "$bin/python" perf/gate_proof.py slower)
bash ci/build-copy.sh "$copy"
status=0
count | tee "$out/perf-proof-slower.txt" || status=$?
[ "$status" -eq 1 ] || { echo "a resolve that is a tenth slower was not noticed" >&2; exit 1; }

cp "$out/session.pxi" "$copy/cra/_compiled/session.pxi"
(cd "$copy" && "$bin/python" perf/gate_proof.py nothing)
bash ci/build-copy.sh "$copy"
for ((run = 1; run <= times; run++)); do
    count >"$out/perf-proof.txt" || { cat "$out/perf-proof.txt"; echo "run $run failed, and nothing had changed" >&2; exit 1; }
    echo "nothing changed, run $run: $(sed -n 's/^| \(resolve 5 | [0-9,]*\).*/\1/p' "$out/perf-proof.txt")"
done
report "unchanged: $times of $times passed; slower by a tenth: $(grep 'resolve 5 (compiled)' "$out/perf-proof-slower.txt")"
