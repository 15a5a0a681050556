# A job whose hosts lose sight of each other ends by itself, soon (./net_faults_slow_test.sh: within R01's ten seconds), mpirun too, with the name of the
# lost host; and it goes on from its last checkpoint.
. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"
: "${most:=60}"

net_up 2 1000
(
    until grep -q '"step":3,' cut/log.jsonl 2>/dev/null; do sleep 0.1; done
    ip -n "$net_name-2" link set cable down
    date +%s%3N >cut_at
) &
net_run 1 "$ATROUS" train data.h5 $small --epochs 1000 --save-steps 2 -o cut >out 2>err
code=$?
took=$(($(date +%s%3N) - $(cat cut_at)))
case $code in
0 | 75 | 77) fail "exit $code" ;;
esac
says err "R01: node node2 has not answered for " " s (node or network down): rank 1 on it, last seen in " "Stopping all 2 ranks (--lost-timeout)."
echo "cable cut: ended after $took ms with code $code"
[ $took -le $((most * 1000)) ] || fail "the job lived on for $took ms after the cable was cut"
sleep 2 # mpirun did not wait for its rank, which is about to end
expect 75 "$ATROUS" train data.h5 -o cut --resume --max-time 1
says out "resumed after step"
