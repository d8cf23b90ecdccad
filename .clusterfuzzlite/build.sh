#!/bin/bash -eu
# Builds the package with the engine's compiler and flags, then one program for each target of cra.fuzzing, with its dictionary, corpus
# and options. CFLAGS is the engine's; setup.py's own -O3 comes before what CRA_CFLAGS adds, and only a linker without flags of its own
# leaves the sanitizer to be preloaded.
export CRA_CFLAGS="${CFLAGS:-} -O1"
export CRA_LDFLAGS="-pthread"
CRA_REQUIRE_COMPILED=1 python3 -m pip install ".[cli,yaml,zstd]"

fuzzers="$WORK/fuzzers"
python3 -m fuzz export "$fuzzers"
for fuzzer in "$fuzzers"/*_fuzzer.py; do
    # Targets are imported by name, and the package a second time for the reference: all of it has to be in the program.
    compile_python_fuzzer "$fuzzer" --collect-submodules cra --collect-data cra --copy-metadata cra
done
cp "$fuzzers"/*.dict "$fuzzers"/*.options "$fuzzers"/*_seed_corpus.zip "$OUT"/
