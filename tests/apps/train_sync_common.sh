# Sourced by the tests of training that is the same on any number of ranks.
. "$(dirname "$0")/train_common.sh"

# The samples of each step, one line each.
samples() {
    sed -n 's/.*"samples":\[\([0-9,]*\)\].*/\1/p' "$1/log.jsonl"
}

# numbers RUN: loss and gradient norm of each step.
numbers() {
    sed -n 's/.*"kind":"step".*"loss":\([0-9.e+-]*\),.*"gradient_norm":\([0-9.e+-]*\),.*/\1 \2/p' "$1/log.jsonl"
}

# same_training RUN RUN: the same samples in the same order, and losses as near as rounding leaves them.
same_training() {
    samples "$1" >samples.1
    samples "$2" >samples.2
    [ -s samples.1 ] && cmp -s samples.1 samples.2 || fail "samples of $1 and $2 differ"
    numbers "$1" >numbers.1
    numbers "$2" >numbers.2
    paste -d ' ' numbers.1 numbers.2 | awk '
        function apart(a, b) { return (a > b ? a - b : b - a) / b }
        NF != 4 || apart($1, $3) > 1e-3 { print "step " NR ": " $0; bad = 1 }
        END { exit bad || NR == 0 }' >err ||
        fail "losses of $1 and $2 differ"
}

expect 0 "$ATR_BUILD_DIR/tests/tight_weights" tight.safetensors 5

# 16 pictures in batches of 6: 6, 6, 4.
common="--size 48x64 --batch 6 --log-interval 1 --eval-period 3 --no-fit-lr --lr 1e-3 --schedule poly --seed 5 --no-curves
    --no-tensorboard --log-samples --weights tight.safetensors"
