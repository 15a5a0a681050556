# Each optimiser learns the drawn shapes: mIoU of 0.8 on pictures that it was not trained on, within a few epochs.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" sample many -n 480 --width 64 --height 64
expect 0 "$ATROUS" pack many -o many.h5 --classes many/classes.txt
for row in "sgd 0.05" "adam 1e-3" "adamw 1e-3"; do
    set -- $row
    expect 0 "$ATROUS" train many.h5 -o "$1" --recipe "$ATR_SOURCE_DIR/recipes/demo.yaml" --size 64 --epochs 16 \
        --schedule poly --warmup 0.3 --optimizer "$1" --lr "$2" --min-lr 1e-5 --eval-period 1 --target-miou 0.8
    says out "reaches the target of 80.00 %"
    grep -F "reaches the target" out | sed "s/^/$1: /"
done
