# The committed benchmark runs and gives figures; nothing is compared here.
. "$(dirname "$0")/common.sh"

"$bin/python" perf/bench.py --quick | tee "$out/bench.txt"
report "$(sed -nE 's/^(resolve, [A-Za-z]+),.*(p50 [0-9.,]+).*/\1: \2 µs/p' "$out/bench.txt" | paste -sd ';' | sed 's/;/; /g')"
