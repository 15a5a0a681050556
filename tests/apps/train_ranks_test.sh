# Training over ranks: bit-equal runs, resume, stop by a signal, evaluation without losing or doubling a picture.
. "$(dirname "$0")/train_common.sh"
need_mpi

train="$ATROUS train data.h5 $small --epochs 2"
expect 0 ranks 2 $train -o two
says out "2 ranks" "  rank  node"
[ "$(grep -c "^ *[01]  $(uname -n) " out)" -eq 2 ] || fail "the map has not a line for each rank"
# The tests bind no rank to cores.
if [ "$(nproc)" -gt 1 ]; then says err "R02: ranks 0 and 1 on node $(uname -n) may run on the same cores"; fi
[ "$(losses two | wc -l)" -eq 8 ] || fail "only rank 0 logs"
expect 75 ranks 2 $train -o stopped --stop-after 3
expect 0 ranks 2 $train -o stopped --resume
same_run two stopped

# 4 pictures on 1, 2, 3 and 5 ranks: the last rank of three has fewer, that of five none.
expect 0 "$ATROUS" eval two/best.h5 data.h5 -o one
for count in 2 3 5; do
    expect 0 ranks $count "$ATROUS" eval two/best.h5 data.h5 -o ranks$count
    cmp -s one/confusion.csv ranks$count/confusion.csv || fail "confusion matrix differs on $count ranks"
done

# Parts of unequal size, and a batch norm that sees one picture on some ranks.
expect 0 ranks 3 $train -o three --max-steps 2
[ "$(nproc)" -ne 2 ] || says err "R02: 3 ranks on 2 cores of node $(uname -n): 1.5x too many"

# mpirun hands SIGUSR1 to the ranks, which agree on the step to stop at.
OMP_NUM_THREADS=1 mpirun -n 2 "$ATROUS" train data.h5 $small --epochs 1000 --eval-period 0 -o asked >out 2>err &
pid=$!
until grep -q '"step":3' asked/log.jsonl 2>/dev/null; do
    kill -0 $pid 2>/dev/null || fail "ended before the signal"
    sleep 0.1
done
kill -USR1 $pid
wait $pid
code=$?
[ "$code" -eq 75 ] || fail "SIGUSR1: exit $code instead of 75"
says out "R03: SIGUSR1: saved step"

# A wrong option is said once.
expect 2 ranks 2 $train -o wrong --bacth 3
[ "$(grep -c 'did you mean --batch' err)" -eq 1 ] || fail "every rank complains"
expect 2 ranks 2 $train -o wrong --batch 1
says err "--batch 1 on 2 ranks"
