# Evaluation repeats what training logged, exactly, and writes it down.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" train data.h5 $small --epochs 1 -o run
expect 0 "$ATROUS" eval run/best.h5 data.h5 -o scores
says out "mIoU" "background" "pixel accuracy"
logged=$(grep '"kind":"eval"' run/log.jsonl | tail -n 1 | sed 's/.*"miou":\([^,]*\),"pixel_accuracy":\([^,]*\),"iou":\(\[[^]]*\]\).*/\1 \2 \3/')
found=$(sed -n 's/^  "miou": \(.*\),$/\1/p; s/^  "pixel_accuracy": \(.*\),$/\1/p; s/^  "iou": \(.*\),$/\1/p' scores/metrics.json | tr '\n' ' ')
[ "$logged " = "$found" ] || fail "logged '$logged', eval says '$found'"
says scores/metrics.json '"recall"' '"precision"' '"f1"' '"miou_all"' '"frequency_iou"' '"classes": ["background"'
[ "$(wc -l <scores/confusion.csv)" -eq 5 ] || fail "5 classes make 5 rows"

# Every pixel of val counts once: 4 pictures of 64x48.
sum=$(tr ',\n' '++' <scores/confusion.csv | sed 's/+$//')
[ $(($sum)) -eq $((4 * 64 * 48)) ] || fail "pixels: $(($sum))"
expect 0 "$ATROUS" eval run/best.h5 data.h5 --fit none --split train -o own
sum=$(tr ',\n' '++' <own/confusion.csv | sed 's/+$//')
[ $(($sum)) -eq $((16 * 64 * 48)) ] || fail "pixels of train: $(($sum))"

expect 0 "$ATROUS" eval run/best.h5 data.h5 --json
cmp -s out scores/metrics.json || fail "--json and metrics.json differ"

# T02: a network after one step at a tiny rate predicts one class only.
expect 0 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 1 --init-gain 1e-6 -o poor
expect 0 "$ATROUS" eval poor/best.h5 data.h5
says err "T02" "--class-weights median" "--loss ce+dice"

# Usage.
expect 2 "$ATROUS" eval run/best.h5
expect 2 "$ATROUS" eval run/best.h5 data.h5 --fit none --size 64
says err "--size has no meaning"
expect 2 "$ATROUS" eval run/best.h5 data.h5 --split vall
says err "val"
expect 1 "$ATROUS" eval none.h5 data.h5
says err "none.h5"
expect 1 "$ATROUS" eval run/best.h5 data.h5 --split test
says err "no samples in split test"
expect 1 "$ATROUS" eval data.h5 data.h5
