# What a user installs: sdist and wheel are built, the wheel goes into an environment of its own, first bare, then with [cli].
. "$(dirname "$0")/common.sh"

rm -rf "$out/dist" "$out/clean"
"$bin/python" -m build --outdir "$out/dist" . >"$out/build.txt" 2>&1 || { cat "$out/build.txt"; exit 1; }
wheel=$(ls "$out"/dist/cra-*.whl)
"$bin/python" ci/check_wheel.py "$wheel"

"$bin/python" -m venv "$out/clean"
golden="$PWD/tests/data/golden/simple-resolve"
cd "$out"  # where there is no cra/ that could be imported by accident
pip=("$out/clean/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "$wheel"
clean="$out/clean/bin"
"$clean/python" -c 'import cra; assert "site-packages" in cra.__file__, cra.__file__; print("cra", cra.__version__, cra.implementation())'

status=0
"$clean/cra" >hint.txt 2>&1 || status=$?
cat hint.txt
[ "$status" -eq 3 ] && [ "$(wc -l <hint.txt)" -eq 1 ] && grep -q 'pip install' hint.txt

import_ms=$("$clean/python" "$OLDPWD/ci/import_time.py")

"${pip[@]}" "$wheel[cli]"
"$clean/cra" resolve --atlas "$golden/atlas.json" --request "$golden/request.json" --trace-out "$out/package.trace.jsonl" --json >/dev/null
"$clean/cra" trace verify "$out/package.trace.jsonl"
report "wheel $(($(wc -c <"$wheel") / 1024)) kB, import cra $import_ms ms, installed bare and with [cli]"
