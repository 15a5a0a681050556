# A step in parts is the step of the whole batch, dropout included, where batch norm does not look at the batch.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 1 --freeze-bn --eval-period 0 --no-fit-lr --lr 1e-3"
expect 0 $train -o whole
expect 0 $train -o parts --accumulate 4
for run in whole parts; do
    sed -n 's/.*"loss":\([0-9.e+-]*\),.*"gradient_norm":\([0-9.e+-]*\),.*/\1 \2/p' $run/log.jsonl >$run.numbers
    [ "$(wc -l <$run.numbers)" -eq 4 ] || fail "4 steps make 4 lines"
done
paste -d ' ' whole.numbers parts.numbers | awk '
    function apart(a, b) { return (a > b ? a - b : b - a) / (b > 0 ? b : 1) }
    apart($1, $3) > 1e-4 || apart($2, $4) > 1e-3 { print "step " NR ": " $0; bad = 1 }
    END { exit bad }' >err || fail "losses or gradients differ"
