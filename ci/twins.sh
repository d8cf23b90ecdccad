#!/usr/bin/env bash
# The whole suite on the reference alone, with the fast paths off; `test` runs what holds for both on either. In the same run, branch
# coverage of what decides and what records, since only the reference's lines can be seen: 100 %, with half a percent for lines of forked
# processes, which are not always measured. A line is excluded only by `# pragma: no cover - reason`.
. "$(dirname "$0")/common.sh"
unset CRA_REQUIRE_COMPILED
export CRA_PURE_PYTHON=1
[ "$("$bin/python" -c 'import cra; print(cra.implementation())')" = pure ]

rooms="cra/carp/*,cra/trace/*,cra/atlas/*,cra/execution/*"
# Processes of their own, many of them killed, and runs of the harness: nothing to measure.
elsewhere=(tests/fault tests/fuzz tests/conformance)
export COVERAGE_FILE="$out/coverage-data"
rm -f "$COVERAGE_FILE" "$COVERAGE_FILE".*
"$bin/python" -m pytest -q -n auto --dist worksteal "${elsewhere[@]/#/--ignore=}" --ignore=tests/test_readme.py --ignore=tests/test_package.py \
    --ignore=tests/kernel --cov --cov-branch --cov-report= tests | tee "$out/twins.txt"
CRA_TEST_PROFILE=glance "$bin/python" -m pytest -q -n auto --dist worksteal "${elsewhere[@]}" | tee "$out/twins-elsewhere.txt"
echo "exclusions, each with its reason:"
grep -rnE 'pragma: no (cover|branch)' cra || echo "none"
"$bin/python" -m coverage report --include="$rooms" --fail-under=99.5 --precision=2 | tee "$out/coverage.txt"
passed=$(sed -n 's/^.*\b\([0-9][0-9]*\) passed.*$/\1/p' "$out/twins.txt" "$out/twins-elsewhere.txt" | awk "{ n += \$1 } END { print n }")
report "pure: $passed tests passed; $(sed -n 's/.* \([0-9.]*%\)$/\1/p' "$out/coverage.txt" | tail -n 1) of statements and branches of carp, trace, atlas, execution"
