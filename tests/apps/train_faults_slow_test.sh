# As train_faults_test.sh: the faults that take longer to be seen, and all the places where a rank can die. How long the others live on: 10 s at
# most after a fault, or after the stall timeout.
stall=45
within=yes
. "$(dirname "$0")/train_common.sh"
. "$(dirname "$0")/train_faults_common.sh"
need_mpi
node=$(uname -n)

expect 0 ranks 2 $train -o straight
faulty kill:all-reduce:rank=1:step=6 10
says err "R01: rank 1 on node $node: process " 'in "all-reduce" of step 6'
goes_on 2
faulty kill:forward:rank=0:step=6 10
says err "R01: rank 0 on node $node: process " 'in "forward" of step 6'
goes_on 2
faulty kill:checkpoint:rank=0:step=6 10
says err "R01: rank 0 on node $node: process " 'in "checkpoint" of step 6'
goes_on 2
faulty kill:write:step=6 10 # in the thread that writes
says err "R01: rank 0 on node $node: process "
[ -f faulty/last.h5.partial ] || fail "it was not killed while it wrote"
goes_on 4
faulty kill:evaluation:rank=1:step=8 10
says err 'R01: rank 1' 'in "evaluation" of step 8'
goes_on 4
faulty memory:forward:rank=1:step=5 10
says err "R01: rank 1 on node $node: out of memory" "Stopping all 2 ranks."
goes_on 4
faulty memory:checkpoint:rank=0:step=4 10
says err "R01: rank 0 on node $node: out of memory" "Stopping all 2 ranks."
goes_on 2

# Ranks that stand still.
faulty stop:forward:rank=1:step=5 $((stall + 10))
says err 'R01: stalled 4' 'at step 5 in "all-reduce": waiting for rank 1 on node' "without a sign of life for " 'last seen in "forward" of step 5' "--stall-timeout 45"
goes_on 4
faulty stop:backward:rank=0:step=5 $((stall + 10))
says err 'R01: rank 1 on node' 'stalled 4' 'in "all-reduce" of step 5: waiting for rank 0 on node' 'last seen in "backward" of step 5'
goes_on 2
faulty hang:data:rank=1:step=5 $((stall + 10))
says err 'R01: stalled 4' 'at step 5 in "agreement": waiting for rank 1 on node' 'in "data" of step 5 for 4'
goes_on 4
faulty hang:evaluation:rank=0:step=8 $((stall + 10))
says err 'waiting for rank 0' 'in "evaluation" of step 8'
goes_on 6

# Killed from outside, as by the kernel that has no memory left.
a_rank() {
    for pid in $(pgrep -f -- '-o timed'); do
        [ "$(readlink "/proc/$pid/cwd")" = "$(pwd -P)" ] && [ "$(readlink "/proc/$pid/exe")" -ef "$ATROUS" ] && echo "$pid"
    done | tail -n 1
}
kill_one() {
    rm -rf timed
    ranks 2 $train -o timed --epochs 1000 >out 2>err &
    until grep -q '"step":6,' timed/log.jsonl 2>/dev/null; do sleep 0.1; done
    victim=$(a_rank)
    took=$(date +%s%3N)
    kill -KILL "$victim" || fail "there is no rank"
    wait
    took=$(($(date +%s%3N) - took))
}
kill_one
[ "$took" -le 10000 ] || kill_one
[ "$took" -le 10000 ] || fail "the job lived on for $took ms"
says err "R01: rank " "process $victim ended without a word"
echo "killed from outside: ended after $took ms"
