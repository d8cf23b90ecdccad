# Sourced by every gate: strict shell, the repository's root, the development environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is gated is the compiled build: where it is missing, that is an error and no reason to test something else.
export CRA_REQUIRE_COMPILED=1

out="$PWD/.ci/out"
bin="$PWD/.venv/bin"
mkdir -p "$out"
make --silent dev
# Tests of faults have it make system calls fail.
command -v strace >/dev/null || apt-get install -y -qq strace >/dev/null
# Tests of shared limits start a server of their own.
command -v redis-server >/dev/null || apt-get install -y -qq redis-server >/dev/null
# Those of the PostgreSQL store start servers of their own, from Debian's binaries; the package is not to start one as well.
if [ -z "$(ls /usr/lib/postgresql/*/bin/initdb "$(pg_config --bindir 2>/dev/null)/initdb" 2>/dev/null)" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq postgresql-common >/dev/null
    sed -i '/^create_main_cluster/d' /etc/postgresql-common/createcluster.conf
    echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
    apt-get install -y -qq postgresql >/dev/null
fi

# The line that .ci/run puts into its table.
report() { printf '== %s\n' "$*"; }
