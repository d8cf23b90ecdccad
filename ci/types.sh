#!/usr/bin/env bash
# Types: mypy --strict over the package.
. "$(dirname "$0")/common.sh"

"$bin/mypy" --cache-dir "$out/mypy" | tee "$out/types.txt"
report "$(sed -n 's/^Success: //p' "$out/types.txt")"
