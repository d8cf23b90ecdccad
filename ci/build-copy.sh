#!/usr/bin/env bash
# Builds the compiled half of another copy of this tree in place: `bash ci/build-copy.sh FOLDER`. Run there, `python -m …` of the
# development environment uses the copy. Used by the performance gate and its proof.
. "$(dirname "$0")/common.sh"

copy=$1
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
"$bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$built" "$copy"
(cd "$copy" && "$bin/python" -m zipfile -e "$built"/cra-*.whl "$built/wheel" && cp "$built"/wheel/cra/_speedups.* cra/)
(cd "$copy" && "$bin/python" -c 'import cra, os; assert os.path.dirname(cra.__file__) == os.path.abspath("cra") and cra.implementation() == "compiled", cra.__file__')
