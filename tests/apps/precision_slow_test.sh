# Training in bf16 learns the drawn shapes as f32 does: mIoU of 0.8 on pictures that it was not trained on.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" sample many -n 480 --width 64 --height 64
expect 0 "$ATROUS" pack many -o many.h5 --classes many/classes.txt
for precision in f32 bf16; do
    expect 0 "$ATROUS" train many.h5 -o $precision --recipe "$ATR_SOURCE_DIR/recipes/demo.yaml" --size 64 --epochs 16 \
        --precision $precision --schedule poly --warmup 0.3 --optimizer sgd --lr 0.05 --min-lr 1e-5 --eval-period 1 \
        --target-miou 0.8
    says out "reaches the target of 80.00 %"
    grep -F "reaches the target" out | sed "s/^/$precision: /"
done
