# As train_faults_test.sh: the faults that take longer to be seen, and all the places where a rank can die.
stall=45
. "$(dirname "$0")/train_common.sh"
. "$(dirname "$0")/train_faults_common.sh"
need_mpi
node=$(uname -n)

expect 0 ranks 2 $train -o straight
faulty kill:all-reduce:rank=1:step=6
says err "R01: rank 1 on node $node: process " 'in "all-reduce" of step 6'
goes_on 2
faulty kill:forward:rank=0:step=6
says err "R01: rank 0 on node $node: process " 'in "forward" of step 6'
goes_on 2
faulty kill:checkpoint:rank=0:step=6
says err "R01: rank 0 on node $node: process " 'in "checkpoint" of step 6'
goes_on 2
faulty kill:write:step=6 # in the thread that writes
says err "R01: rank 0 on node $node: process "
[ -f faulty/last.h5.partial ] || fail "it was not killed while it wrote"
goes_on 4
faulty kill:evaluation:rank=1:step=8
says err 'R01: rank 1' 'in "evaluation" of step 8'
goes_on 4
faulty memory:forward:rank=1:step=5
says err "R01: rank 1 on node $node: out of memory" "Stopping all 2 ranks."
goes_on 4
faulty memory:checkpoint:rank=0:step=4
says err "R01: rank 0 on node $node: out of memory" "Stopping all 2 ranks."
goes_on 2

# Ranks that stand still.
faulty stop:forward:rank=1:step=5
says err 'R01: stalled 4' 'at step 5 in "all-reduce": waiting for rank 1 on node' "without a sign of life for " 'last seen in "forward" of step 5' "--stall-timeout 45"
goes_on 4
faulty stop:backward:rank=0:step=5
says err 'R01: rank 1 on node' 'stalled 4' 'in "all-reduce" of step 5: waiting for rank 0 on node' 'last seen in "backward" of step 5'
goes_on 2
faulty hang:data:rank=1:step=5
says err 'R01: stalled 4' 'at step 5 in "agreement": waiting for rank 1 on node' 'in "data" of step 5 for 4'
goes_on 4
faulty hang:evaluation:rank=0:step=8
says err 'waiting for rank 0' 'in "evaluation" of step 8'
goes_on 6

# How long the others live on: the issue says 10 s at most. The limit here is for a busy machine.
ranks 2 $train -o timed --epochs 1000 >out 2>err &
until grep -q '"step":6,' timed/log.jsonl 2>/dev/null; do sleep 0.1; done
victim=$(pgrep -f -- "train data.h5 .*-o timed" | tail -n 1)
began=$(date +%s%N)
kill -KILL "$victim"
wait
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -lt 30000 ] || fail "the job lived on for $took ms"
says err "R01: rank " "process $victim ended without a word"
echo "the job ended $took ms after one of its ranks was killed"
