#!/usr/bin/env bash
# The compiled half as nobody ships it, in a folder of its own, under the tests of what it replaces.
#   debug      -O0, with the assertions of Python's headers and Cython's checks (bounds, None, uninitialised) (CRA_DEBUG=1)
#   sanitized  the same under AddressSanitizer and UndefinedBehaviorSanitizer, which stop the run at the first fault
# `ci/debug-build.sh debug` runs one of them. By name only in .ci/run.
. "$(dirname "$0")/common.sh"

variants=("$@")
[ $# -gt 0 ] || variants=(debug sanitized)
build="$out/debug-build"
mkdir -p "$build"
[ -x "$build/venv/bin/python" ] || "$bin/python" -m venv "$build/venv"
"$build/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'Cython>=3.1'

export CRA_REQUIRE_COMPILED=1 CRA_DEBUG=1 CRA_TEST_PROFILE=glance PYTHONDEVMODE=
everything=(tests/unit tests/property tests/stateful)
half=(tests/unit/reference tests/unit/trace tests/stateful)
said=()

tree() { # tree VARIANT: the sources, without what other builds made of them
    local tree="$build/$1"
    rm -rf "$tree"
    mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - --ignore-failed-read 2>/dev/null | tar -xf - -C "$tree"
    echo "$tree"
}

compile() { # compile TREE: in place
    (cd "$1" && "$build/venv/bin/python" setup.py --quiet build_ext --inplace) >"$1.build.txt" 2>&1 || { cat "$1.build.txt"; return 1; }
}

check() { # check TREE VARIABLE...: the tests will import the extension of this tree, and nothing else
    local tree=$1
    shift
    (cd "$tree" && env "$@" "$bin/python" -c 'import os, cra, cra._speedups as built; assert cra.implementation() == "compiled"
assert os.path.dirname(built.__file__) == os.path.join(os.getcwd(), "cra"), built.__file__')
}

for variant in "${variants[@]}"; do
    folder=$(tree "$variant")
    case $variant in
        debug)
            compile "$folder"
            options=(PYTHONPATH="$folder")
            tests=("${everything[@]}")
            ;;
        sanitized)
            sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
            CRA_CFLAGS="-O1 $sanitizers" CRA_LDFLAGS="-pthread $sanitizers" compile "$folder"
            # Python's own allocator would hide the ends of what it hands out; what the interpreter keeps until it exits is no leak of ours.
            options=(
                PYTHONPATH="$folder" PYTHONMALLOC=malloc
                LD_PRELOAD="$("${CC:-cc}" -print-file-name=libasan.so) $("${CC:-cc}" -print-file-name=libubsan.so)"
                ASAN_OPTIONS=detect_leaks=0:handle_abort=1:allocator_may_return_null=1
                UBSAN_OPTIONS=print_stacktrace=1
            )
            tests=("${half[@]}")
            ;;
        *)
            echo "there is no variant '$variant'; there are debug and sanitized" >&2
            exit 2
            ;;
    esac
    check "$folder" "${options[@]}"
    (cd "$folder" && env "${options[@]}" "$bin/python" -m pytest -q -n "${CRA_JOBS:-auto}" -p no:cacheprovider "${tests[@]}") | tee "$build/$variant.txt"
    said+=("$variant: $(tail -n 1 "$build/$variant.txt" | tr -d '=' | sed 's/^ *//; s/ *$//')")
done
report "$(printf '%s; ' "${said[@]}" | sed 's/; $//')"
