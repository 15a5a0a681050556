# What goes wrong ends the run with its message and leaves a folder that can be resumed.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 2"

# T01
expect 1 "$ATROUS" train data.h5 $small --epochs 2 -o nan --lr 1e30 --no-fit-lr
says err "T01: step 2 rank 0: loss is NaN. First non-finite tensor: output of backbone." "Samples " "Try --lr" "--clip 1"

# Asked to stop: the step is finished, all is saved. Training sees a signal that comes before it too.
$train -o asked --epochs 1000 --eval-period 0 >out 2>err &
pid=$!
until grep -q '"step":3' asked/log.jsonl 2>/dev/null; do
    kill -0 $pid 2>/dev/null || fail "ended before the signal"
    sleep 0.1
done
kill -TERM $pid
wait $pid
[ $? -eq 75 ] || fail "SIGTERM: exit is not 75"
says out "R03: SIGTERM: saved step"
steps=$(losses asked | wc -l)
echo 'lr: 1' >other.yaml
expect 75 "$ATROUS" train data.h5 -o asked --resume --recipe other.yaml --stop-after $((steps + 1))
says out "resumed after step $steps"
says err "the recipe other.yaml is not read again"

# Killed without a word: what is there is whole, and the run goes on to the same end.
expect 0 $train -o straight
$train -o killed >out 2>err &
pid=$!
until [ -f killed/last.h5 ]; do
    kill -0 $pid 2>/dev/null || break
    sleep 0.05
done
kill -KILL $pid 2>/dev/null
wait $pid
printf '{"kind":"step","epo' >>killed/log.jsonl
expect 0 $train -o killed --resume
same_run straight killed

# Nothing to resume yet: the run starts.
expect 0 $train -o fresh --resume --max-steps 1

# A damaged picture is named, on the rank that met it.
cp data.h5 bad.h5
at=$(grep -abo 'JFIF' bad.h5 | sed -n 3p | cut -d: -f1)
[ -n "$at" ] || at=$(grep -abo 'IHDR' bad.h5 | sed -n 3p | cut -d: -f1)
printf 'XXXX' | dd of=bad.h5 bs=1 seek=$((at + 40)) conv=notrunc 2>/dev/null
expect 1 "$ATROUS" train bad.h5 $small -o bad
says err "bad.h5 sample" "checksum"
need_mpi
expect 1 ranks 2 "$ATROUS" train bad.h5 $small -o bad2
says err "R01: rank " "on node" "bad.h5 sample" "Stopping all 2 ranks."
