# Ranks watch each other between hosts: the messages name the host of a rank that dies or stands still there, and a cut cable is no hang.
. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"

net_up 2 1000
# faulty NAME OPTION...: fails within the time limit, and not as if it were to be started again.
faulty() {
    name=$1
    shift
    net_run 1 "$ATROUS" train data.h5 $small --epochs 1000 --save-steps 2 --stall-timeout ${stall:-40} -o "$name" "$@" >out 2>err
    code=$?
    case $code in
    0 | 75 | 77) fail "exit $code: $name" ;;
    esac
}

export ATR_TEST_FAULT=kill:forward:rank=1:step=4
faulty killed
says err "R01: rank 1 on node node2: process " 'ended without a word in "forward" of step 4' "Stopping all 2 ranks."
ATR_TEST_FAULT=stop:forward:rank=1:step=4
faulty stopped
says err 'R01: stalled 4' 'at step 4 in "all-reduce": waiting for rank 1 on node node2' "without a sign of life for "
unset ATR_TEST_FAULT

# Both hosts lose sight of each other: with the settings of cluster/env.sh MPI's daemon believes it in a minute. Where a rank ends sooner (a stall timeout
# below that), mpirun's own orders to the lost host are what it waits for, a quarter of an hour.
stall=150
settings=$(bash -c '. "$0" && printenv | grep ^OMPI_MCA_oob_tcp_keepalive_' "$ATR_SOURCE_DIR/cluster/env.sh")
[ "$(echo "$settings" | wc -l)" -eq 3 ] || fail "env.sh says nothing of lost nodes"
export $settings
(
    until grep -q '"step":3,' cut/log.jsonl 2>/dev/null; do sleep 0.1; done
    ip -n "$net_name-2" link set cable down
) &
began=$(date +%s)
faulty cut
took=$(($(date +%s) - began))
[ $took -lt 140 ] || fail "the job lived on for $took s after the cable was cut"
echo "cable cut: ended after $took s"
expect 75 "$ATROUS" train data.h5 -o cut --resume --max-time 1
says out "resumed after step"
