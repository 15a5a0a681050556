# A rank that dies, fails or stands still ends the job with its name, nothing is lost beyond the last checkpoint, and the run
# goes on from there. ATR_TEST_FAULT (core/fault.h) makes the faults. The others: train_faults_slow_test.sh.
. "$(dirname "$0")/train_common.sh"
. "$(dirname "$0")/train_faults_common.sh"
need_mpi

expect 0 ranks 2 $train -o straight
faulty kill:forward:rank=1:step=6
says err "R01: rank 1 on node $(uname -n): process " 'ended without a word in "forward" of step 6' "Stopping all 2 ranks."
goes_on 2

faulty nan:data:rank=1:step=3
says err "T01: step 3 rank 1: loss is NaN. First non-finite tensor: the pictures. Samples " "Last good checkpoint: step 2."
goes_on 2

# mpirun answers SIGTERM by killing its ranks one second later: what they can save by then is saved.
rm -rf faulty
OMP_NUM_THREADS=1 mpirun -n 2 $train -o faulty --epochs 1000 >out 2>err &
pid=$!
until [ -f faulty/last.h5 ]; do
    kill -0 $pid 2>/dev/null || fail "ended before the signal"
    sleep 0.1
done
kill -TERM $pid
wait $pid
code=$?
[ "$code" -ne 0 ] || fail "SIGTERM to mpirun: exit 0"
expect 75 ranks 2 $train -o faulty --epochs 1000 --resume --max-time 1
says out "resumed after step"
