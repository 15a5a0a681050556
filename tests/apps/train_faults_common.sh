# Sourced behind train_common.sh. A checkpoint at each second step; the stall timeout is for hangs, not for busy machines.
train="$ATROUS train data.h5 $small --epochs 2 --save-steps 2 --stall-timeout ${stall:-120}"

# faulty FAULT [SECONDS]: a run of two ranks with it fails, in ./faulty. $within is to be set for SECONDS to count: so long after the fault the
# job has ended. A machine with other work gets a second chance.
faulty() {
    faulty_once "$1"
    [ -n "${within:-}" ] && [ $# -eq 2 ] || return 0
    [ "$took" -le $(($2 * 1000)) ] || faulty_once "$1"
    echo "$1: ended after $took ms"
    [ "$took" -le $(($2 * 1000)) ] || fail "$1: the job lived on for $took ms"
}

faulty_once() {
    rm -rf faulty
    ATR_TEST_FAULT=$1 ranks 2 $train -o faulty >out 2>err
    code=$?
    took=$(date +%s%3N)
    case $code in
    0 | 75 | 77) fail "exit $code: $1" ;;
    esac
    at=$(sed -n 's/^ATR_TEST_FAULT: [a-z]* at \([0-9]*\)\.\([0-9]*\)$/\1\2/p' err | head -n 1)
    took=$((took - ${at:-0}))
}

# goes_on STEP: it had saved that step at least, and ends as one without a fault. A rank 0 that is killed, or whose job is, takes a checkpoint
# with it that is being written: then STEP is the one before.
goes_on() {
    expect 0 ranks 2 $train -o faulty --resume
    from=$(sed -n 's/.*resumed after step \([0-9]*\).*/\1/p' out)
    [ -n "$from" ] && [ "$from" -ge "$1" ] || fail "it went on from step ${from:-0}, not $1"
    same_run straight faulty
}
