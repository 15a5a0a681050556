# Equal runs are bit-equal, and so is a run that was stopped and resumed, in the middle of an epoch and at its end.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 2"
expect 0 $train -o straight
[ "$(losses straight | wc -l)" -eq 8 ] || fail "8 steps make 8 lines"
says straight/log.jsonl '"kind":"start"' '"kind":"eval","epoch":1,"step":4,"split":"val","miou":' '"kind":"eval","epoch":2'
expect 0 $train -o again
same_run straight again
cmp -s straight/best.h5 again/best.h5 || fail "best.h5 differs"

expect 75 $train -o stopped --stop-after 2
says out "saved step 2" "exit 75"
expect 75 "$ATROUS" train data.h5 -o stopped --resume --stop-after 4   # its config.yaml holds the options
expect 75 $train -o stopped --resume --stop-after 7
expect 0 $train -o stopped --resume
says out "resumed after step 7"
same_run straight stopped
cmp -s straight/best.h5 stopped/best.h5 || fail "best.h5 differs after resuming"
expect 0 $train -o stopped --resume
same_run straight stopped

# Adam has two moments and counts its steps.
expect 0 $train -o adam --optimizer adam --lr 5e-4
expect 75 $train -o adam2 --optimizer adam --lr 5e-4 --stop-after 3
expect 0 "$ATROUS" train data.h5 -o adam2 --resume
same_run adam adam2

# A damaged last.h5 costs the steps since the one before, nothing else.
expect 75 $train -o damaged --stop-after 3
expect 75 $train -o damaged --resume --stop-after 5
printf 'XXXX' | dd of=damaged/last.h5 bs=1 seek=20000 conv=notrunc 2>/dev/null
expect 0 $train -o damaged --resume
says out "last.h5 is damaged"
same_run straight damaged
