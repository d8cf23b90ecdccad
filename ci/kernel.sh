#!/usr/bin/env bash
# The C kernel's own tests, tests/kernel/test_*.c, each linked with all of cra/_kernel: warnings are errors; once plain and optimised
# as users have it, then under the address, undefined behaviour and thread sanitizers.
. "$(dirname "$0")/common.sh"

cc=${CC:-cc}
flags=(-std=c11 -Wall -Wextra -Werror -Icra/_kernel -Itests/kernel -pthread)
sanitize=(-g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all)
build="$out/kernel"
rm -rf "$build"
mkdir -p "$build"

runs=0
run() { # run NAME FLAGS...: every test, built with these flags
    local name=$1 object objects=() test said
    shift
    mkdir "$build/$name"
    for source in cra/_kernel/*.c; do
        object="$build/$name/$(basename "$source" .c).o"
        "$cc" "${flags[@]}" "$@" -c "$source" -o "$object"
        objects+=("$object")
    done
    for source in tests/kernel/test_*.c; do
        test="$build/$name/$(basename "$source" .c)"
        "$cc" "${flags[@]}" "$@" "$source" "${objects[@]}" -o "$test"
        said=$("$test")
        printf '%-10s %s\n' "$name" "$said"
        runs=$((runs + 1))
    done
}

run plain -O3
run portable -O3 -DCRA_RING_PORTABLE
run address "${sanitize[@]}" -fsanitize=address
run undefined "${sanitize[@]}" -fsanitize=undefined
run thread "${sanitize[@]}" -fsanitize=thread
report "$runs runs: $((runs / 5)) C tests, plain, without futexes, and under three sanitizers ($("$cc" --version | head -n 1))"
