# train --recompute: the same run, bit for bit, dropout and shared statistics of ranks included, in less memory.
. "$(dirname "$0")/train_common.sh"

# same RUN RUN: losses, weights and running statistics.
same() {
    losses "$1" >losses.1
    losses "$2" >losses.2
    [ "$(wc -l <losses.1)" -eq 8 ] || fail "8 steps make 8 lines"
    cmp -s losses.1 losses.2 || fail "losses of $1 and $2 differ"
    for run in "$1" "$2"; do
        expect 0 "$ATROUS" export $run/last.h5 -o $run.safetensors
    done
    cmp -s "$1.safetensors" "$2.safetensors" || fail "weights of $1 and $2 differ"
}

# activations FILE: MiB that the run said it would take for them.
activations() {
    sed -n 's/^memory per rank: .* activations \([0-9]*\) MiB.*/\1/p' "$1"
}

train="train data.h5 --size 128x96 --batch 4 --log-interval 1 --eval-period 0 --seed 5 --no-curves --epochs 2"
expect 0 "$ATROUS" $train -o kept
kept=$(activations out)
expect 0 "$ATROUS" $train -o again --recompute
again=$(activations out)
says out "--recompute"
same kept again
[ -n "$kept" ] && [ "$((10 * again))" -lt "$((7 * kept))" ] || fail "activations: $again MiB with --recompute, $kept without"

need_mpi
expect 0 ranks 2 "$ATROUS" $train -o kept2 --sync-bn
expect 0 ranks 2 "$ATROUS" $train -o again2 --sync-bn --recompute
same kept2 again2
