# Sums of gradients over several hosts, with one and with two ranks on each; and the nets are as fast as they were asked to be.
. "$(dirname "$0")/net_common.sh"
: "${ATROUS:?}" "${ATR_BUILD_DIR:?}"
ldd "$ATROUS" | grep -q libmpi || net_skip "built without MPI"

fail() {
    echo "FAILED: $*" >&2
    cat "$folder/out" >&2
    exit 1
}

# run COMMAND...: it ends well; what it says is in $folder/out.
run() {
    "$@" >"$folder/out" 2>&1 || fail "exit $?: $*"
}

# milliseconds METHOD: the quickest of the first size in $folder/out.
milliseconds() {
    sed -n "s/^ *$1 .*(min \([0-9]*\).*/\1/p" "$folder/out" | head -n 1
}

net_up 2 1000
run net_run 2 "$ATR_BUILD_DIR/tests/test_reducer"
run net_run 2 "$ATROUS" bench comm --no-train --repeats 3 --mb 8
for way in exchange blocking "flat f32" "flat bf16" "hierarchical f32" "hierarchical bf16"; do
    [ -n "$(milliseconds "$way")" ] || fail "no times of $way"
done
# 8 MB are 64 ms at 1000 Mbit/s; 1 ms of it may go at once.
[ "$(milliseconds exchange)" -ge 60 ] || fail "faster than 1000 Mbit/s"

net_up 3 200
run net_run 1 "$ATR_BUILD_DIR/tests/test_reducer"
run net_run 1 "$ATROUS" bench comm --no-train --repeats 3 --mb 8 --json
grep -q '"nodes": 3' "$folder/out" || fail "not three nodes"
awk -F'[:,]' '/"method": "exchange"/ { seen = 1 } seen && /"min_ms"/ { exit !($2 >= 300) }' "$folder/out" ||
    fail "faster than 200 Mbit/s"
