# Batch norms over ranks: the same training on any number of ranks, also where a run goes on with another number; with short last
# batches, augmentation, dropout and averaged weights.
. "$(dirname "$0")/train_sync_common.sh"

train="$ATROUS train data.h5 $common --epochs 3 --sync-bn --ema 0.9"
expect 0 $train -o one
says one/log.jsonl '"steps_per_epoch":3'
samples one >all
[ "$(wc -l <all)" -eq 9 ] || fail "9 steps make 9 lists of samples"
for epoch in 0 1 2; do
    tail -n +$((3 * epoch + 1)) all | head -n 3 | tr ',' '\n' | sort -n | uniq >seen
    [ "$(wc -l <seen)" -eq 16 ] || fail "epoch $epoch shows $(wc -l <seen) of 16 samples"
    [ "$(tail -n +$((3 * epoch + 1)) all | head -n 3 | tr ',' '\n' | wc -l)" -eq 16 ] || fail "a sample comes twice"
done

# What the reference does: the rest is left out.
expect 0 "$ATROUS" train data.h5 $common --epochs 1 --compat reference -o reference
[ "$(samples reference | wc -l)" -eq 2 ] || fail "2 whole batches are 2 steps"

# What cannot be meant.
expect 2 $train -o wrong --bn-group 2
says err "--sync-bn takes all ranks and --bn-group some: choose one"
expect 2 $train -o wrong --freeze-bn
says err "--freeze-bn keeps the running statistics" "by --sync-bn"

need_mpi
expect 75 ranks 4 $train -o moved --stop-after 2
says out "batch norms: statistics of all 4 ranks together"
expect 75 ranks 2 $train -o moved --resume --stop-after 5
says out "R03: saved on 4 ranks, now 2: global batch 6 kept"
expect 0 ranks 3 $train -o moved --resume
says out "R03: saved on 2 ranks, now 3: global batch 6 kept"
same_training one moved

expect 0 ranks 3 $train -o three
same_training one three
expect 0 ranks 3 $train -o again
same_run three again
