# `atrous bench train` on several ranks, and `atrous bench scaling`, which starts them.
. "$(dirname "$0")/train_common.sh"
need_mpi
# want FILTER FILE: a condition on a JSON file, in Python's words about the object `o`.
want() {
    python3 -c "
import json, sys
o = json.load(open('$2'))
sys.exit(0 if ($1) else 1)" || fail "$2: not $1: $(cat "$2")"
}
tiny="--size 33 --classes 3 --threads 1"

# A step alone needs no more than its own rank; the job's throughput is that of all ranks.
expect 0 mpirun -n 2 "$ATROUS" bench train $tiny -n 2 --warmup 1 --json --against-alone --trace trace.json
cp out train.json
want "o['ranks'] == 2 and o['alone_min_ms'] > 0 and o['alone_median_ms'] >= o['alone_min_ms']" train.json
want "abs(o['efficiency_min'] - o['alone_min_ms'] / o['min_ms']) < 1e-3" train.json
want "abs(o['images_per_s'] * o['median_ms'] / 1e3 - 4) < 0.01" train.json
want "sorted(o['phases_ms']) == ['backward', 'count pixels', 'forward', 'gradient all-reduce', 'update']" train.json
want "o['steps'] == 2 and o['batch'] == 2 and o['ready'][-1]['median_ms'] <= o['backward']['median_ms']" trace.json
expect 0 "$ATROUS" simulate trace.json --nodes 1,2
says out "deeplabv3plus mobilenetv2, output stride 16, 3 classes" "2 x 33x33, 1 threads"
expect 2 mpirun -n 2 "$ATROUS" bench train $tiny --trace trace.json
says err "--against-alone"
# A file that cannot be written ends all ranks with one message.
expect 1 mpirun -n 2 "$ATROUS" bench train $tiny -n 1 --warmup 1 --against-alone --trace /dev/null/x.json
[ "$(grep -c "x.json" err)" -eq 1 ] || fail "not one message"

expect 0 "$ATROUS" bench scaling --ranks 1,2 --sweep weak --batch 1 --rounds 1 -n 1 --warmup 1 --json -- $tiny
cp out weak.json
want "[(p['sweep'], p['ranks'], p['batch']) for p in o['points']] == [('weak', 1, 1), ('weak', 2, 1)]" weak.json
want "o['points'][0]['against_first_min'] == 1" weak.json
want "abs(o['points'][1]['efficiency_min'] - o['points'][1]['alone_min_ms'] / o['points'][1]['min_ms']) < 1e-3" weak.json
# Three ranks do not divide a batch of four.
expect 0 "$ATROUS" bench scaling --ranks 1,2,3 --sweep strong --global-batch 4 --rounds 1 -n 1 --warmup 1 --json -- $tiny
cp out strong.json
want "[(p['sweep'], p['ranks'], p['batch']) for p in o['points']] == [('strong', 1, 4), ('strong', 2, 2)]" strong.json
want "o['points'][0]['efficiency_min'] == 1 and 'alone_min_ms' not in o['points'][1]" strong.json
want "abs(o['points'][1]['efficiency_min'] - o['points'][0]['min_ms'] / o['points'][1]['min_ms'] / 2) < 1e-3" strong.json

if command -v gnuplot >/dev/null; then
    expect 0 "$ATROUS" bench scaling --ranks 1 --sweep weak --rounds 2 -n 1 --warmup 1 --plot s.png \
        --launcher "env ATR_TEST=1 mpirun -n {ranks}" -- $tiny
    says out "33x33" "1 threads a rank" "2 rounds of 1 steps" "side by side"
    [ "$(head -c 4 s.png | tail -c 3)" = PNG ] || fail "no picture"
fi

expect 2 "$ATROUS" bench scaling --sweep weak,up -- $tiny
says err "'up' (weak, strong)"
expect 2 "$ATROUS" bench scaling --ranks 2,1 -- $tiny
says err "must rise"
expect 2 "$ATROUS" bench scaling --ranks 2,4 --sweep strong --global-batch 3 -- $tiny
says err "divides a batch of 3"
expect 2 "$ATROUS" bench scaling --ranks 2 --launcher env --sweep strong --rounds 1 -n 1 --warmup 1 -- $tiny
says err "does it have {ranks} in it"
expect 1 "$ATROUS" bench scaling --ranks 1 --launcher no-such-launcher -- $tiny
says err "no program no-such-launcher"
expect 1 "$ATROUS" bench scaling --ranks 1 --rounds 1 -- $tiny --size 0
says err "ended with code 2" "between 1 and"
