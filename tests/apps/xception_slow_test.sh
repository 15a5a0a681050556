# Every command takes a network with Xception.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 -o run $small --backbone xception --batch 2"
expect 0 $train --epochs 1 --max-steps 2
grep -qF '"backbone":"xception"' run/log.jsonl || fail "the log does not name the backbone"
expect 2 "$ATROUS" train data.h5 -o run $small --backbone mobilenetv2 --batch 2 --epochs 1 --resume
says err "M01" "xception"
expect 0 "$ATROUS" info run/last.h5
says out "deeplabv3plus xception, output stride 16"
expect 0 "$ATROUS" eval run/last.h5 data.h5 -o scores
[ -s scores/metrics.json ] || fail "no metrics.json"
expect 0 "$ATROUS" predict run/last.h5 shapes/JPEGImages/shape_00001.jpg -o masks
[ -s masks/shape_00001.png ] || fail "no mask"
expect 0 "$ATROUS" import run/last.h5 -o model.h5
says out "deeplabv3plus xception"
rm -r run
expect 0 $train --epochs 1 --max-steps 1 --weights model.h5
expect 2 "$ATROUS" train data.h5 -o other $small --batch 2 --epochs 1 --max-steps 1 --weights model.h5
says err "M01" "Backbone differs"

# Adam's rate is the reference's for this backbone, whatever the batch.
rm -r run
expect 0 $train --epochs 1 --max-steps 1 --optimizer adam --lr 5e-4 --fit-lr
grep -F '"kind":"step"' run/log.jsonl | grep -qF '"lr":1e-05' || fail "not a tenth of 1e-4, where warm-up starts"
expect 0 "$ATROUS" bench train --backbone xception --size 65 --batch 2 -n 1
says out "xception output stride 16"
