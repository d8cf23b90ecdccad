#!/usr/bin/env bash
# Every system call of a journal, of a jsonl: and of a sqlite: store, failing once, and once the last of its process; processes
# killed at random; and stores that are broken on purpose, which have to be noticed. One of CRA_FAULTS_THIN faults (1: all of them) is
# injected, chosen by a seed that is printed.
. "$(dirname "$0")/common.sh"

enumerate=("$bin/python" -W ignore -m tests.fault.enumerate --jobs 2)
"${enumerate[@]}" --thin "${CRA_FAULTS_THIN:-5}" | tee "$out/faults.txt"
mutants=0
while read -r mutant rest; do
    # shellcheck disable=SC2086 # several words
    noticed "$out/faults-$mutant.txt" "${enumerate[@]}" --mutant "$mutant" --seed 1 $rest
    mutants=$((mutants + 1))
done <<'END'
half-batches --store jsonl --part work --call write --thin 2
believed-fsyncs --store sqlite --part work --call fdatasync --thin 4
forgotten-rings --store journal --part recovery --thin 1000
END
kills=0
for store in jsonl journal sqlite; do
    "$bin/python" -W ignore -m tests.fault.kills --kills 40 --store "$store" | tee "$out/kills-$store.txt"
    kills=$((kills + 40))
done
report "$(tail -n 1 "$out/faults.txt"); $kills random kills; $mutants broken stores noticed"
