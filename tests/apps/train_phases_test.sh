# A frozen backbone for the first epochs, then all of it: resuming is exact in both phases and over the switch.
. "$(dirname "$0")/train_common.sh"

# 2 steps in the frozen epoch, 4 in each of the two after it.
train="$ATROUS train data.h5 $small --epochs 3 --freeze-epochs 1 --freeze-batch 8"

expect 0 $train -o sgd
says out "epochs 1-1: backbone frozen, batch 8, 2 steps each" "epochs 2-3: batch 4, 4 steps each"
says err "T05" "T04: 3 epochs are 12 steps of batch 4; with sgd a good result usually takes more than 15000 (--epochs 3751)"
[ "$(losses sgd | wc -l)" -eq 10 ] || fail "2 + 4 + 4 steps make 10 lines"
says sgd/log.jsonl '{"kind":"phase","epoch":2,"step":2,"frozen":false,"batch":4,"steps_per_epoch":4}'

# A short last step of an epoch counts, where there is one.
few="$ATROUS train data.h5 $small --epochs 3 --batch 5 --max-steps 1 --eval-period 0"
expect 0 $few -o short
says out "epochs 1-3: batch 5, 4 steps each"
says err "T04: 3 epochs are 12 steps of batch 5; with sgd a good result usually takes more than 15000 (--epochs 3751)"
expect 0 $few -o dropped --compat reference
says out "epochs 1-3: batch 5, 3 steps each"
says err "T04: 3 epochs are 9 steps of batch 5; with sgd a good result usually takes more than 15000 (--epochs 5001)"

# Stopped in the frozen epoch, at its end, and behind it.
expect 75 $train -o parts --stop-after 1
for step in 2 5; do
    expect 75 "$ATROUS" train data.h5 -o parts --resume --stop-after $step
done
expect 0 "$ATROUS" train data.h5 -o parts --resume
same_run sgd parts
cmp -s sgd/best.h5 parts/best.h5 || fail "best.h5 differs after resuming"

# What a run may not change, and what it may.
expect 2 "$ATROUS" train data.h5 -o sgd --resume --epochs 4 --batch 8
says err "batch 4" "Asked: batch 8"
expect 0 "$ATROUS" train data.h5 -o sgd --resume --epochs 4 --ema 0.5 --max-steps 11
says out "options differ" "the average of the weights begins here"
expect 0 "$ATROUS" train data.h5 -o sgd --resume --epochs 4 --ema 0 --max-steps 12
says out "the average of the weights is given up"
expect 1 "$ATROUS" train data.h5 -o sgd --resume --epochs 5 --optimizer adam
says err "the optimiser is sgd, asked for is adam"

# A target ends the run, also when it goes on.
expect 0 $train -o target --target-miou 1e-6
says out "reaches the target"
[ "$(losses target | wc -l)" -eq 2 ] || fail "the first evaluation reaches the target"
expect 0 "$ATROUS" train data.h5 -o target --resume
[ "$(losses target | wc -l)" -eq 2 ] || fail "a run at its target goes on"

# Each part has a picture on each rank.
expect 2 $train -o wrong --accumulate 9
says err "--freeze-batch 8 on 1 ranks with --accumulate 9" "at least 9"
