# Ranks watch each other between hosts: the messages name the host of a rank that dies or stands still there, and what a cut cable ends, ends within ten seconds.
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

# A cut cable, and a process that is stopped for longer than a node may be silent.
most=10
. "$(dirname "$0")/net_cut_test.sh"
