# predict --streams: several passes of the network at once give the same files, bit for bit, in the same order.
. "$(dirname "$0")/train_common.sh"

OMP_NUM_THREADS=2
export OMP_NUM_THREADS
expect 0 "$ATROUS" train data.h5 --size 48x64 --batch 4 --max-steps 1 --eval-period 0 -o run
mkdir pictures
i=0
for picture in shapes/JPEGImages/*; do
    cp "$picture" pictures/
    i=$((i + 1))
    [ $i -lt 7 ] || break
done
echo "no picture" >pictures/bad.png

# same NAME OPTION...: 1 and 2 streams write the same files and say the same.
same() {
    name=$1
    shift
    for streams in 1 2; do
        expect 3 "$ATROUS" predict run/last.h5 pictures -o "$name$streams" --streams $streams --csv "$name$streams.csv" "$@"
        says err "bad.png"
    done
    cmp -s "${name}1.csv" "${name}2.csv" || fail "other counts, or in another order: $name"
    diff -r "${name}1" "${name}2" >/dev/null || fail "other files: $name"
}
same plain --logits
same pairs --batch 2 --fit none
[ "$(ls plain2 | wc -l)" -eq 14 ] || fail "7 pictures make 14 files: $(ls plain2)"

# auto takes as many as there is work for; a wrong number is told.
expect 0 "$ATROUS" predict run/last.h5 pictures/shape* -o auto
cmp -s auto/$(ls auto | head -n 1) plain1/$(ls auto | head -n 1) || fail "auto: another label map"
expect 2 "$ATROUS" predict run/last.h5 pictures -o no --streams 0
says err "--streams 0" "auto"
expect 2 "$ATROUS" predict run/last.h5 pictures --fps 2 --streams 2
says err "--streams has no meaning"

# Video: raw frames, in order, in passes of three so that the last one is short.
head -c $((64 * 48 * 3 * 10)) "$ATROUS" >frames.rgb
for streams in 1 2; do
    expect 0 "$ATROUS" predict run/last.h5 frames.rgb --raw 64x48 --show overlay -o "video$streams.rgb" \
        --streams $streams --batch 3 --csv "video$streams.csv"
    says out "10 frames"
done
[ "$(wc -c <video1.rgb)" -eq $((64 * 48 * 3 * 10)) ] || fail "10 frames of video: $(wc -c <video1.rgb) bytes"
cmp -s video1.rgb video2.rgb || fail "video: other frames with two streams"
cmp -s video1.csv video2.csv || fail "video: other counts with two streams"
