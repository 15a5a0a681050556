# `atrous simulate` foretells steps of two hosts within 15 %: over slow and fast cables, with and without overlap, with small and large
# buckets, f32 and bf16, polled and moved by a thread. Where the cable decides over bf16, it carries data in both directions all the time: 10 %.
. "$(dirname "$0")/net_simulate_common.sh"

for speed in 200 1000 10000; do
    net_up 2 $speed
    measure_network
    for bucket in 0 1 4; do
        compare 15 $bucket f32
    done
    compare 15 4 f32 thread
    compare $((speed == 200 ? 10 : 15)) 4 bf16
done
