# The language-neutral cases: they are what their tables say, and our adapter passes all of them.
. "$(dirname "$0")/common.sh"

"$bin/python" -m conformance.tables --check
"$bin/python" -m conformance run --json >"$out/conformance.json" || { "$bin/python" -m conformance run; exit 1; }
report "$("$bin/python" -c 'import json, sys; t = json.load(open(sys.argv[1]))["totals"]; print(", ".join(f"{v} {k}" for k, v in t.items() if v))' "$out/conformance.json")"
