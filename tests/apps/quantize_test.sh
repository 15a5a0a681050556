# A trained network is quantised, says so, and predicts in integers; the file stays an f32 model, too.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" train data.h5 $small --epochs 1 -o run
expect 0 "$ATROUS" quantize run/best.h5 data.h5 -o int8.h5 --pictures 8 --probes 2 --most-loss 100 --most-error 100
says out "backbone.features.1.conv.0" "cls_conv" "runs in" "mIoU on val" "layers in int8"
grep -qE "% +f32$" out && fail "with any error allowed a layer stayed in f32"
grep -q "the 0 that stay" out && fail "no layer in int8"

# The parameters are untouched, and the seal holds.
expect 0 "$ATROUS" export run/best.h5 -o plain.safetensors
expect 0 "$ATROUS" export int8.h5 -o same.safetensors
cmp -s plain.safetensors same.safetensors || fail "quantising changed the parameters"
expect 0 "$ATROUS" info int8.h5
says out "int8"

# A quantised file runs in integers unless told otherwise; f32 is what it was.
expect 0 "$ATROUS" predict run/best.h5 shapes/JPEGImages -o f32 --logits
expect 0 "$ATROUS" predict int8.h5 shapes/JPEGImages -o as_f32 --logits --precision f32
expect 0 "$ATROUS" predict int8.h5 shapes/JPEGImages -o integers --logits
expect 0 "$ATROUS" predict int8.h5 shapes/JPEGImages -o asked --logits --precision int8
one=$(ls f32 | grep logits | head -n 1)
cmp -s "f32/$one" "as_f32/$one" || fail "f32 of the quantised file differs from the plain file's"
cmp -s "integers/$one" "asked/$one" || fail "int8 is not what a quantised file runs in"
cmp -s "f32/$one" "integers/$one" && fail "int8 gives the bits of f32: nothing ran in integers"

# The same bits whatever runs beside it.
expect 0 "$ATROUS" predict int8.h5 shapes/JPEGImages -o batch --logits --batch 3 --threads 1
expect 0 "$ATROUS" predict int8.h5 shapes/JPEGImages -o streams --logits --streams 2
for other in batch streams; do
    for file in integers/*.npy; do
        cmp -s "$file" "$other/${file#integers/}" || fail "$other changed ${file#integers/}"
    done
done

# Scores near those of f32, on one rank and on two.
expect 0 "$ATROUS" eval run/best.h5 data.h5 --json
plain=$(sed -n 's/^  "pixel_accuracy": \(.*\),$/\1/p' out)
expect 0 "$ATROUS" eval int8.h5 data.h5 --json
integers=$(sed -n 's/^  "pixel_accuracy": \(.*\),$/\1/p' out)
awk -v a="$plain" -v b="$integers" 'BEGIN { exit !(a - b < 0.05 && b - a < 0.05) }' ||
    fail "pixel accuracy $plain in f32, $integers in int8"
if command -v mpirun >/dev/null && ldd "$ATROUS" | grep -q libmpi; then
    cp out alone
    expect 0 ranks 2 "$ATROUS" eval int8.h5 data.h5 --json
    cmp -s out alone || fail "two ranks score otherwise"
fi

# Layers that cost too much stay in f32: with no error allowed, all of them.
expect 0 "$ATROUS" quantize run/best.h5 data.h5 -o none.h5 --pictures 2 --probes 1 --most-error 0
says out "0 of"
grep -qE "% +int8$" out && fail "no error is allowed, yet a layer is in int8"

# Usage, and what is no quantised model.
expect 2 "$ATROUS" predict run/best.h5 shapes/JPEGImages -o x --precision int8
says err "was not quantised" "atrous quantize"
expect 2 "$ATROUS" quantize run/best.h5 data.h5
says err "-o INT8.h5"
expect 2 "$ATROUS" quantize run/best.h5 data.h5 -o int8.h5
says err "--force"
expect 1 "$ATROUS" quantize run/best.h5 data.h5 -o y.h5 --split test
says err "split test"
expect 2 "$ATROUS" train data.h5 $small --epochs 1 -o no --precision int8
says err "int8 is for prediction"
expect 2 "$ATROUS" bench train --precision int8
says err "int8 is for prediction"
expect 0 "$ATROUS" bench inference --size 64 --precision int8 -n 2 --warmup 1 --json
says out '"precision": "int8"'

# Damage behind the seal's back is what the seal is for; a broken seal is refused before anything is read.
cp int8.h5 broken.h5
printf 'x' | dd of=broken.h5 bs=1 seek=20000 conv=notrunc 2>/dev/null
expect 1 "$ATROUS" predict broken.h5 shapes/JPEGImages -o z
says err "checksum"
