# Every recipe that comes with the program is read, starts, and says at its top what it is for.
. "$(dirname "$0")/train_common.sh"

: "${ATR_SOURCE_DIR:?root of the sources}"
found=0
for recipe in "$ATR_SOURCE_DIR"/recipes/*.yaml; do
    name=$(basename "$recipe" .yaml)
    head -n 1 "$recipe" | grep -q '^# [A-Z]' || fail "$name does not say what it is for"
    expect 0 "$ATROUS" train data.h5 -o "$name" --recipe "$recipe" --size 64 --batch 4 --freeze-batch 4 --max-steps 1 \
        --eval-period 0
    says "$name/log.jsonl" '"kind":"step","epoch":1,"step":1'
    found=$((found + 1))
done
[ "$found" -ge 4 ] || fail "$found recipes found"

# What a recipe says is what the run does.
says reference/config.yaml "freeze-epochs: 50" "frozen-norm: batch"
says finetune/config.yaml "optimizer: adamw" "clip: 1"
