# A reader of the messages that goes away (^C at `atrous train ... | tee log` ends tee first) does not end a run unsaved.
. "$(dirname "$0")/train_common.sh"

# The first line is read, then the pipe is closed; later lines have no reader.
{
    $ATROUS train data.h5 $small -o run --epochs 1 --max-steps 3 --log-interval 1 2>&1 >/dev/null
    echo $? >code
} | head -n 1 >first
[ -s first ] || fail "no first line"
[ "$(cat code)" = 0 ] || fail "exit $(cat code) where the reader of the messages went away"
[ -f run/last.h5 ] || fail "no checkpoint where the reader of the messages went away"
