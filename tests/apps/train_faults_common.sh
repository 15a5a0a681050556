# Sourced behind train_common.sh. A checkpoint at each second step; the stall timeout is for hangs, not for busy machines.
train="$ATROUS train data.h5 $small --epochs 2 --save-steps 2 --stall-timeout ${stall:-120}"

# faulty FAULT: a run of two ranks with it fails, in ./faulty.
faulty() {
    rm -rf faulty
    ATR_TEST_FAULT=$1 ranks 2 $train -o faulty >out 2>err
    code=$?
    case $code in
    0 | 75 | 77) fail "exit $code: $1" ;;
    esac
}

# goes_on STEP: it had saved that step at least, and ends as one without a fault. A rank 0 that is killed, or whose job is, takes a checkpoint
# with it that is being written: then STEP is the one before.
goes_on() {
    expect 0 ranks 2 $train -o faulty --resume
    from=$(sed -n 's/.*resumed after step \([0-9]*\).*/\1/p' out)
    [ -n "$from" ] && [ "$from" -ge "$1" ] || fail "it went on from step ${from:-0}, not $1"
    same_run straight faulty
}
