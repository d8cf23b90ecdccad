#!/usr/bin/env bash
# What a user installs: sdist and wheel are built, with a C compiler and without; the wheel goes into an environment of its own, first
# bare, then with [cli].
. "$(dirname "$0")/common.sh"

golden="$PWD/tests/data/golden/simple-resolve"
rm -rf "$out/dist" "$out/dist-pure" "$out/clean" "$out/clean-pure" build/lib* build/bdist*

build() { # build LOG ARGUMENTS...
    local log="$out/$1"
    shift
    "$bin/python" -m build "$@" >"$log" 2>&1 || { cat "$log"; return 1; }
}

build build.txt --outdir "$out/dist" .
wheel=$(ls "$out"/dist/cra-*.whl)
"$bin/python" ci/check_wheel.py "$wheel" compiled

# Without a compiler, from the sdist: the reference alone, which says so; or, where that is not enough, one line and no wheel.
sdist=$(ls "$out"/dist/cra-*.tar.gz)
mkdir "$out/dist-pure"
tar -xzf "$sdist" -C "$out/dist-pure" --strip-components=1
status=0
(export CC=no-such-compiler CRA_REQUIRE_COMPILED=1; build build-required.txt --wheel --outdir "$out/dist-pure" "$out/dist-pure") >/dev/null || status=$?
[ "$status" -ne 0 ]
[ "$(grep -c '^cra: ' "$out/build-required.txt")" -eq 1 ]
grep '^cra: CRA_REQUIRE_COMPILED is set, but no C compiler' "$out/build-required.txt"
! grep -q Traceback "$out/build-required.txt"
(export CC=no-such-compiler CRA_REQUIRE_COMPILED=0; build build-pure.txt --wheel --outdir "$out/dist-pure" "$out/dist-pure")
grep -m 1 '^cra: no C compiler' "$out/build-pure.txt"
pure=$(ls "$out"/dist-pure/cra-*.whl)
"$bin/python" ci/check_wheel.py "$pure" pure

cd "$out"  # where there is no cra/ that could be imported by accident
"$bin/python" -m venv clean
"$bin/python" -m venv clean-pure
clean="$out/clean/bin"
pip=("$clean/python" -m pip install --quiet --disable-pip-version-check)
say='import cra; assert "site-packages" in cra.__file__, cra.__file__; print("cra", cra.__version__, cra.implementation())'

"${pip[@]}" "$wheel"
"$clean/python" -c "$say" | tee installed.txt
grep -q ' compiled$' installed.txt
CRA_PURE_PYTHON=1 CRA_REQUIRE_COMPILED=0 "$clean/python" -c "$say"

status=0
"$clean/cra" >hint.txt 2>&1 || status=$?
cat hint.txt
[ "$status" -eq 3 ] && [ "$(wc -l <hint.txt)" -eq 1 ] && grep -q 'pip install' hint.txt

import_ms=$("$clean/python" "$OLDPWD/ci/import_time.py")

"${pip[@]}" "$wheel[cli]"
resolve() { # resolve BIN TRACE
    "$1/cra" resolve --atlas "$golden/atlas.json" --request "$golden/request.json" --trace-out "$2" --json >/dev/null
    "$1/cra" trace verify "$2"
}
resolve "$clean" package.trace.jsonl
"$clean/cra" conformance run --json >package-conformance.json
"$clean/cra" bench --trace package.trace.jsonl --count 10000 --json >package-bench.json

# The pure one: it says that it is, it works, and each verifies what the other wrote.
unset CRA_REQUIRE_COMPILED
clean-pure/bin/python -m pip install --quiet --disable-pip-version-check "$pure[cli]"
clean-pure/bin/python -c "$say" | grep ' pure$'
resolve clean-pure/bin package-pure.trace.jsonl
clean-pure/bin/cra trace verify package.trace.jsonl >/dev/null
"$clean/cra" trace verify package-pure.trace.jsonl >/dev/null

report "wheel $(($(wc -c <"$wheel") / 1024)) kB, pure $(($(wc -c <"$pure") / 1024)) kB, import cra $import_ms ms, installed bare and with [cli]"
