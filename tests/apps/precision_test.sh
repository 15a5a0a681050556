# --precision: bf16 trains, resumes bit by bit, evaluates and predicts; auto on a machine without it is f32; both are told.
. "$(dirname "$0")/train_common.sh"

OMP_NUM_THREADS=2
export OMP_NUM_THREADS
expect 2 "$ATROUS" train data.h5 $small -o no --precision fp8
says err "precision" "f32, bf16, auto"

# f32 unless asked, and the run says what it used.
train="$ATROUS train data.h5 $small --epochs 2"
expect 0 $train -o wide
says out "back end cpu, f32"
says wide/log.jsonl '"precision":"f32"'
says wide/config.yaml "precision: model"
expect 0 $train -o narrow --precision bf16
says out "back end cpu, bf16"
says narrow/log.jsonl '"precision":"bf16"'

# The first loss is nearly that of f32, and not the same; rounding shows later, too.
loss() {
    sed -n 's/.*"kind":"step".*"step":1,"loss":\([0-9.]*\).*/\1/p' "$1/log.jsonl"
}
[ "$(loss wide)" != "$(loss narrow)" ] || fail "bf16 has the losses of f32"
awk -v a="$(loss wide)" -v b="$(loss narrow)" 'BEGIN { d = a > b ? a - b : b - a; exit !(d < 0.05 * a) }' ||
    fail "first loss $(loss narrow), in f32 $(loss wide)"

# Stopped and resumed in bf16: the same bits. A bare --resume takes the precision from config.yaml.
expect 75 $train -o stopped --precision bf16 --stop-after 3
expect 0 "$ATROUS" train data.h5 -o stopped --resume
says out "resumed after step 3" "back end cpu, bf16"
same_run narrow stopped

# Prediction: streams do not change it, other ways to run the plan hardly do, and it is not f32's.
expect 0 "$ATROUS" predict narrow/last.h5 shapes/JPEGImages -o wide.out --logits
for streams in 1 2; do
    expect 0 "$ATROUS" predict narrow/last.h5 shapes/JPEGImages -o narrow$streams.out --logits --precision bf16 --streams $streams
done
diff -r narrow1.out narrow2.out >/dev/null || fail "two streams predict something else in bf16"
! diff -r narrow1.out wide.out >/dev/null || fail "bf16 predicts the bits of f32"

# Auto where there is no bf16 to multiply.
ATR_ISA=avx2
export ATR_ISA
expect 0 "$ATROUS" predict narrow/last.h5 shapes/JPEGImages -o auto.out --logits --precision auto
says err "precision: f32"
expect 0 "$ATROUS" predict narrow/last.h5 shapes/JPEGImages -o avx2.out --logits
unset ATR_ISA
diff -r auto.out avx2.out >/dev/null || fail "auto predicts something else than f32"

# Asked for, it is told.
says_bf16() {
    expect 0 "$@"
    says err "precision: bf16"
}
says_bf16 "$ATROUS" predict narrow/last.h5 shapes/JPEGImages -o told.out --precision bf16

# Evaluation, and measurements say their precision.
says_bf16 "$ATROUS" eval narrow/last.h5 data.h5 --split val -o eval.out --precision bf16 --no-plots
says eval.out/metrics.json '"miou"'
expect 0 "$ATROUS" bench inference --size 64 --repeats 1 --precision bf16 --json
says out '"precision": "bf16"'
expect 0 "$ATROUS" bench train --size 64 --batch 2 --repeats 1 --precision bf16
says out "bf16, cpu"
