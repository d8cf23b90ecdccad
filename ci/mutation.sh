#!/usr/bin/env bash
# Mutation testing by mutmut: every small change to what decides, records and executes has to be caught by a test.
#   ci/mutation.sh                              the modules named in ci/mutation.py
#   ci/mutation.sh cra/carp/plan.py …           only these
# It takes hours for all of them; what was done stays in .ci/out/mutation, so that the next run goes on where this one ended, and tests
# only what has changed since. CRA_MUTATION_JOBS=2 runs two at a time. Survivors are explained in ci/mutation-survivors.txt, or the
# gate fails. By name only in .ci/run.
. "$(dirname "$0")/common.sh"

unset CRA_REQUIRE_COMPILED
work="$out/mutation"
mkdir -p "$work/tree"
[ -x "$work/venv/bin/python" ] || "$bin/python" -m venv "$work/venv"
# In an environment of its own, for it needs much; the tests' packages are those of the development environment.
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8,<4'
"$bin/python" ci/mutation.py prepare "$work/tree" "$@"

mutate() { # mutate [NAME…]: what has no result yet, or these again
    # The reference path, since mutants are Python. The plugin's entry point is that of the environment, and not of this tree; tests of
    # what forked processes do in time say nothing on a machine that is busy for hours.
    (
        cd "$work/tree"
        export CRA_PURE_PYTHON=1 CRA_TEST_PROFILE=glance PYTEST_ADDOPTS="-p no:cra --ignore=tests/unit/trace/test_recorder_process.py"
        PYTHONPATH="$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
        export PYTHONPATH
        nice "$work/venv/bin/python" -m mutmut run --max-children "${CRA_MUTATION_JOBS:-1}" "$@"
    ) >"$work/run.txt" 2>&1 || { tr '\r' '\n' <"$work/run.txt" | tail -n 30; return 1; }
}

# mutmut does not ask a survivor again by itself, even where there are new tests.
mapfile -t again < <("$bin/python" ci/mutation.py survivors "$work/tree" ci/mutation-survivors.txt "$@")
mutate
[ -z "${again[*]}" ] || mutate "${again[@]}"
"$bin/python" ci/mutation.py report "$work/tree" ci/mutation-survivors.txt "$@" | tee "$out/mutation.txt"
