#!/usr/bin/env bash
# Style and formatting, by ruff.
. "$(dirname "$0")/common.sh"

"$bin/ruff" check
"$bin/ruff" format --check
report "$("$bin/ruff" check --show-files | wc -l) files checked"
