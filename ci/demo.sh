#!/usr/bin/env bash
# `make demo` in a copy that holds what a clone would hold, with nothing beside it; then again, which must be quick; then in another
# copy where there is no C compiler.
. "$(dirname "$0")/common.sh"

copy="$out/clone"
rm -rf "$copy" "$copy-pure"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done |
    xargs -0 cp --parents --target-directory="$copy"
cp -r "$copy" "$copy-pure"
demo() { # demo FOLDER VARIABLES...
    local folder=$1
    shift
    env -u CI "$@" make --no-print-directory -C "$folder" demo
}

demo "$copy" | tee "$out/demo.txt"
tail -n 1 "$out/demo.txt" | grep -qE '^trace verified: [0-9]+ events'
grep -q '^cra runs compiled$' "$out/demo.txt"

started=$SECONDS
demo "$copy" >"$out/demo-again.txt"
again=$((SECONDS - started))

demo "$copy-pure" -u CRA_REQUIRE_COMPILED CC=no-such-compiler >"$out/demo-pure.txt"
grep '^cra runs as pure Python' "$out/demo-pure.txt"
diff <(tail -n 1 "$out/demo.txt") <(tail -n 1 "$out/demo-pure.txt")
report "$(tail -n 1 "$out/demo.txt"); again in $again s; without a compiler too"
