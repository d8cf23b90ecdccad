#!/usr/bin/env bash
# The tests on every supported Python that this machine has, besides the one in .venv; few examples a property.
. "$(dirname "$0")/common.sh"
export CRA_TEST_PROFILE=glance

main=$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ran="$main (test)"
missing=""
failed=""

# A version is on the PATH, or known to pyenv; a shim of pyenv that leads nowhere fails when it is run.
find_python() {
    local candidate root
    root=$(pyenv root 2>/dev/null || true)
    for candidate in "python$1" ${root:+"$root/versions/$1".*/bin/python}; do
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return
    done
    return 1
}

for version in 3.10 3.11 3.12 3.13; do
    [ "$version" = "$main" ] && continue
    if ! python=$(find_python "$version"); then
        echo "Python $version: not on this machine (neither on the PATH nor in pyenv); not tested"
        missing+=" $version"
        continue
    fi
    echo "Python $version: $python"
    venv="$out/python$version"
    if [ ! -e "$venv/installed" ] || [ -n "$(find pyproject.toml setup.py cra/_speedups.pyx cra/_compiled cra/_kernel -newer "$venv/installed")" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[all,test]"
        touch "$venv/installed"
    fi
    # Fewer examples than in the main run: what differs between versions shows in the first ones.
    if CRA_TEST_PROFILE=glance "$venv/bin/python" -m pytest -q -n auto --dist worksteal --ignore=tests/test_readme.py --ignore=tests/test_package.py; then
        ran+=", $version"
    else
        failed+=" $version"
    fi
done
report "Python $ran${failed:+; FAILED:$failed}${missing:+; not on this machine:$missing}"
[ -z "$failed" ]
