# The reference alone: every test that holds for any implementation, with few examples a property; `test` runs the compiled one.
. "$(dirname "$0")/common.sh"

unset CRA_REQUIRE_COMPILED
export CRA_PURE_PYTHON=1 CRA_TEST_PROFILE=glance
[ "$("$bin/python" -c 'import cra; print(cra.implementation())')" = pure ]
"$bin/python" -m pytest -q -n auto --ignore=tests/test_readme.py --ignore=tests/test_package.py --ignore=tests/kernel | tee "$out/twins.txt"
report "pure: $(tail -n 1 "$out/twins.txt" | tr -d '=' | sed 's/^ *//; s/ *$//')"
