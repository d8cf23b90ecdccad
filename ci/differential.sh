# The compiled implementation against the reference: whole responses to generated input, with another seed each time; and a broken
# reference, which has to be noticed. CRA_DIFFERENTIAL_CASES: how many (30,000).
. "$(dirname "$0")/common.sh"

"$bin/python" -m conformance.differential --cases "${CRA_DIFFERENTIAL_CASES:-30000}" | tee "$out/differential.txt"
if "$bin/python" -m conformance.differential --cases 3000 --seed 1 --jobs 1 --mutant denials-ignored >"$out/differential-mutant.txt"; then
    echo "a reference that ignores denials was not noticed" >&2
    exit 1
fi
report "$(tail -n 1 "$out/differential.txt"); a broken twin was noticed"
