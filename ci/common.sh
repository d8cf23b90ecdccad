# Sourced by every gate: strict shell, the repository's root, the development environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is gated is the compiled build: where it is missing, that is an error and no reason to test something else.
export CRA_REQUIRE_COMPILED=1

out="$PWD/.ci/out"
bin="$PWD/.venv/bin"
mkdir -p "$out"
make --silent dev

need() { # need COMMAND PACKAGE: from Debian, where the command is missing
    command -v "$1" >/dev/null || debian "$2"
}

debian() { # debian PACKAGE…
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

as_root() { # as_root COMMAND…
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

need strace strace             # tests of faults have it make system calls fail
need redis-server redis-server # tests of shared limits start one of their own
# Those of the PostgreSQL store start servers of their own, from Debian's binaries; the package is not to start one as well.
if [ -z "$(ls /usr/lib/postgresql/*/bin/initdb "$(pg_config --bindir 2>/dev/null)/initdb" 2>/dev/null)" ]; then
    debian postgresql-common
    settings=/etc/postgresql-common/createcluster.conf
    as_root sed -i '/^create_main_cluster/d' "$settings"
    echo 'create_main_cluster = false' | as_root tee -a "$settings" >/dev/null
    debian postgresql
fi

noticed() { # noticed FILE COMMAND…: something is broken on purpose, and the command, whose output is the file, has to find it: 1
    local file=$1 status=0
    shift
    "$@" >"$file" 2>&1 || status=$?
    [ "$status" -eq 1 ] && return
    tail -n 20 "$file" >&2
    echo "what is broken on purpose was not found (exit status $status): $*" >&2
    return 1
}

# The line that .ci/run puts into its table.
report() { printf '== %s\n' "$*"; }
