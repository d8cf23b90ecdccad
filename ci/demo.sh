# `make demo` in a copy that holds what a clone would hold, with nothing beside it; then again, which must be quick.
. "$(dirname "$0")/common.sh"

copy="$out/clone"
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done |
    xargs -0 cp --parents --target-directory="$copy"
env -u CI make --no-print-directory -C "$copy" demo | tee "$out/demo.txt"
tail -n 1 "$out/demo.txt" | grep -qE '^trace verified: [0-9]+ events'

started=$SECONDS
env -u CI make --no-print-directory -C "$copy" demo >"$out/demo-again.txt"
report "$(tail -n 1 "$out/demo.txt"); again in $((SECONDS - started)) s"
