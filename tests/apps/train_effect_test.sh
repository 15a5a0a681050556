# No option of train is read and forgotten: each one, set to another value, changes the losses of the first steps.
. "$(dirname "$0")/train_common.sh"

base="$ATROUS train data.h5 --size 32x40 --batch 4 --log-interval 1 --eval-period 0 --max-steps 2 --lr 7e-2 --seed 5"
expect 0 $base -o base
losses base >base.losses
[ "$(wc -l <base.losses)" -eq 2 ] || fail "2 steps make 2 lines"

# changes OPTION...: these options give other losses.
changes() {
    rm -rf other
    expect 0 $base -o other "$@"
    sed 's/,"lr".*//' base.losses >a
    losses other | sed 's/,"lr".*//' >b
    ! cmp -s a b || fail "no effect: $*"
}

changes --output-stride 8
changes --size 40x32
changes --dropout 0,0.1
changes --dropout 0.5,0
changes --weights base/last.h5
changes --init kaiming
changes --init xavier
changes --init-gain 0.03
changes --freeze-bn
changes --batch 5
changes --optimizer adam
changes --lr 6e-2
changes --no-fit-lr
changes --momentum 0.8
changes --no-nesterov
changes --weight-decay 1e-2
changes --class-weights 1,2,3,4,5
changes --seed 6
changes --compat reference
changes --augment-aspect 0
changes --augment-scale 0.5,1
changes --augment-flip 1
changes --augment-place 0
changes --augment-blur 1
changes --augment-rotate 10,1
changes --augment-hsv 0
changes --jpeg-scale

# The schedule changes only rates of later epochs.
rates() {
    rm -rf rates
    expect 0 "$ATROUS" train data.h5 --size 32 --batch 16 --eval-period 0 --epochs 10 --lr 7e-2 "$@" -o rates
    sed -n 's/.*"lr":\([^,]*\),.*/\1/p' rates/log.jsonl
}
rates >cosine
rates --min-lr 1e-3 >higher
rates --schedule step >steps
[ "$(sort -u cosine | wc -l)" -gt 3 ] || fail "the rate stays the same"
! cmp -s cosine higher || fail "no effect: --min-lr"
! cmp -s cosine steps || fail "no effect: --schedule"

# When it saves and evaluates. 2 epochs of 4 steps.
periods() {
    rm -rf periods
    expect 0 "$ATROUS" train data.h5 $small --epochs 2 "$@" -o periods
}
periods --eval-period 2 --save-period 2
[ "$(grep -c '"kind":"eval"' periods/log.jsonl)" -eq 1 ] || fail "--eval-period 2 evaluates once in 2 epochs"
[ ! -e periods/last.prev.h5 ] || fail "--save-period 2 saves once in 2 epochs"
periods --eval-period 0
[ "$(grep -c '"kind":"eval"' periods/log.jsonl)" -eq 0 ] || fail "--eval-period 0 evaluates"
[ -e periods/last.prev.h5 ] || fail "by default it saves after each epoch"
periods --eval-fit none --max-steps 1
expect 0 "$ATROUS" eval periods/best.h5 data.h5 --json
says out '"fit": "none"'
