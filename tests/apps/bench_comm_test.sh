# `bench comm`: sums of each size by each algorithm, and training steps with and without overlap.
. "$(dirname "$0")/train_common.sh"
need_mpi

expect 2 "$ATROUS" bench comm
says err "mpirun -n 2 atrous bench comm"
expect 2 ranks 2 "$ATROUS" bench comm --mb 0
expect 2 ranks 2 "$ATROUS" bench comm more

expect 0 ranks 2 "$ATROUS" bench comm --size 64 --batch 1 --repeats 1 --mb 0.01,1 --bucket-mb 2
says out "2 ranks on 1 node" "  0.01 MB" "  1 MB" "exchange" "blocking" "flat f32" "flat bf16" "hierarchical f32"
says out "mobilenetv2, 1 x 64x64 a rank, 23." "f32, no overlap, polled" "f32, buckets of 2 MB, polled" \
    "bf16, buckets of 2 MB, moved by a thread"

expect 0 ranks 2 "$ATROUS" bench comm --size 64 --batch 1 --repeats 1 --mb 1 --bucket-mb 2 --json
[ "$(grep -c '"method"' out)" -eq 5 ] || fail "not five ways to sum"
[ "$(grep -c '"progress"' out)" -eq 6 ] || fail "not three ways to train for each wire"
# 23.27 MB of gradients: 0.5, five of 4, 2.27 and 0.5 MB without overlap, else 0.5, eleven of 2, 0.27 and 0.5.
[ "$(grep -c '"ready_ms"' out)" -eq $((2 * 8 + 4 * 14)) ] || fail "$(grep -c '"ready_ms"' out) buckets"
