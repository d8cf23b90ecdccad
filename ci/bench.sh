# The committed benchmark runs and gives figures; nothing is compared here.
. "$(dirname "$0")/common.sh"

"$bin/python" perf/bench.py --quick | tee "$out/bench.txt"
report "$(grep -c . "$out/bench.txt") lines of figures"
