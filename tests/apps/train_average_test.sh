# All that has a state at once (moments with bias correction, average of weights, parts of a batch, a rate that falls at every step,
# statistics of frozen norms that go on) over the thawing of the backbone: resuming is exact, on one rank and on two.
. "$(dirname "$0")/train_common.sh"

# 2 steps in the frozen epoch, 4 in the one after it.
train="$ATROUS train data.h5 $small --epochs 2 --freeze-epochs 1 --freeze-batch 8"

all="--optimizer adamw --lr 5e-4 --frozen-norm batch --ema 0.9 --clip 3 --accumulate 2 --schedule poly --warmup 0.5"
expect 0 $train -o straight $all
expect 75 $train -o parts $all --stop-after 2 # at the end of the frozen epoch
expect 75 "$ATROUS" train data.h5 -o parts --resume --stop-after 4
expect 0 "$ATROUS" train data.h5 -o parts --resume
same_run straight parts
cmp -s straight/best.h5 parts/best.h5 || fail "best.h5 differs after resuming"
expect 0 "$ATROUS" info straight/last.h5
says out "average of the weights of 6 steps"

# The network of the file is the average, which evaluation scored.
scored=$(sed -n 's/.*"kind":"eval","epoch":2.*"miou":\([0-9.e+-]*\),.*/\1/p' straight/log.jsonl)
expect 0 "$ATROUS" eval straight/last.h5 data.h5 --json
says out "\"miou\": $scored"

need_mpi
expect 0 ranks 2 $train -o two --ema 0.9
expect 75 ranks 2 $train -o two.parts --ema 0.9 --stop-after 2
expect 0 ranks 2 "$ATROUS" train data.h5 -o two.parts --resume
same_run two two.parts
expect 2 ranks 3 $train -o wrong --freeze-batch 2
says err "--freeze-batch 2 on 3 ranks"
