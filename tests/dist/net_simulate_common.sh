# A forecast beside the run that it is of. Sourced by the tests of `atrous simulate` over shaped networks.

# What is measured here is for a machine that has nothing else to do. Where Linux groups processes by session, this one goes first.
if [ -z "${SIMULATE_FIRST-}" ] && command -v setsid >/dev/null && [ -w /proc/self/autogroup ]; then
    SIMULATE_FIRST=1 exec setsid -w sh -c 'echo -15 >/proc/self/autogroup 2>/dev/null; exec sh "$0" "$@"' "$0" "$@"
fi

. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"
command -v python3 >/dev/null || net_skip "there is no python3"

# What can be sent between the hosts, and at which rates a rank's thread takes gradients in and adds them up, and converts them to bf16 and
# back: in runs of their own.
measure_network() {
    expect 0 net_run 1 "$ATROUS" bench comm --no-train --mb 0.0001,1,4 -n 5 --json
    cp out comm.json
    expect 0 net_run 1 "$ATROUS" bench train --size 128 -n 5 --warmup 1 --against-alone --json --allreduce flat
    host_gbyte=$(python3 -c 'import json; print(json.load(open("out"))["host_gbyte_per_s"])')
    expect 0 net_run 1 "$ATROUS" bench train --size 128 -n 5 --warmup 1 --json --allreduce flat --bucket-mb 0 --wire bf16
    convert_gbyte=$(python3 -c 'import json; print(json.load(open("out"))["convert_gbyte_per_s"])')
}

# compare PERCENT BUCKET_MB WIRE [PROGRESS]: steps of two hosts, each after one that the hosts make without each other, from which the forecast is
# made; the two differ by PERCENT at most, by medians or by minima. A host has one core here, which a thread that looks after the sums takes
# from the computing one: for either the forecast is that of polling. This machine has other work: the better of two counts, and a model
# that leaves something out is wrong twice.
compare() {
    attempt=0
    while [ $((attempt += 1)) -le 2 ]; do
        [ $attempt -eq 1 ] || measure_network
        expect 0 net_run 1 "$ATROUS" bench train --size 128 -n 5 --warmup 1 --against-alone --trace trace.json --json \
            --allreduce flat --bucket-mb "$2" --wire "$3" --progress "${4:-poll}"
        cp out run.json
        for figure in median min; do
            expect 0 "$ATROUS" simulate trace.json --network comm.json --nodes 2 --allreduce flat --wire "$3" \
                --bucket-mb "$([ "$2" = 0 ] && echo 4 || echo "$2")" --host-gbyte "$host_gbyte" --convert-gbyte "$convert_gbyte" --figure $figure --json
            cp out forecast.json
            python3 - "$1" "$2" "$3" $figure "${4:-poll}" <<'END' && return
import json, sys
limit, bucket, wire, figure, progress = float(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
run, forecast = json.load(open('run.json')), json.load(open('forecast.json'))
row = next(r for r in forecast['results'] if r['overlap'] == (bucket > 0))
off = 100 * (row['step_ms'] / run[figure + '_ms'] - 1)
print('%6.0f Mbit/s, C %.2f, K %.2f GB/s, %3g MB, %s, %s, %-6s: alone %7.1f ms, measured %7.1f ms, forecast %7.1f ms: %+.1f %%' % (
    1e3 * forecast['bandwidth_gbit'], forecast['host_gbyte'], forecast['convert_gbyte'], bucket, wire, progress, figure, run['alone_%s_ms' % figure], run[figure + '_ms'],
    row['step_ms'], off), flush=True)
sys.exit(abs(off) > limit)
END
        done
    done
    fail "the forecast is off by more than $1 % with buckets of $2 MB, $3"
}
