# Branch coverage of what decides and what records: 100 %, with half a percent for lines of forked processes, which are not always measured.
# A line is excluded only by `# pragma: no cover - reason`. Everything runs on the reference, the only one whose lines can be seen; so this
# is also the whole suite with the fast paths off.
. "$(dirname "$0")/common.sh"
unset CRA_REQUIRE_COMPILED
export CRA_PURE_PYTHON=1

rooms="cra/carp/*,cra/trace/*,cra/atlas/*,cra/execution/*"
export COVERAGE_FILE="$out/coverage-data"
rm -f "$COVERAGE_FILE" "$COVERAGE_FILE".*
"$bin/python" -m pytest -q -n auto --ignore=tests/cli --ignore=tests/fault --ignore=tests/test_readme.py --ignore=tests/test_package.py \
    --cov --cov-branch --cov-report= tests
echo "exclusions, each with its reason:"
grep -rnE 'pragma: no (cover|branch)' cra || echo "none"
"$bin/python" -m coverage report --include="$rooms" --fail-under=99.5 --precision=2 | tee "$out/coverage.txt"
report "$(sed -n 's/.* \([0-9.]*%\)$/\1/p' "$out/coverage.txt" | tail -n 1) branch coverage of carp, trace, atlas, execution"
