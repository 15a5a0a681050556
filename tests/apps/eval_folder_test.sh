# Masks of any program against the truth: the numbers of the network that made them, and every file that does not fit is named.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" train data.h5 $small --epochs 1 -o run
expect 0 "$ATROUS" eval run/best.h5 data.h5 -o network --no-plots
mkdir val
while read -r name; do cp "shapes/JPEGImages/$name.jpg" val/; done <shapes/ImageSets/Segmentation/val.txt
expect 0 "$ATROUS" predict run/best.h5 val -o masks --overlay
expect 0 "$ATROUS" eval --predictions masks data.h5 -o scores --no-plots
cmp -s network/confusion.csv scores/confusion.csv || fail "masks that the network made give other counts than it"
cmp -s network/metrics.csv scores/metrics.csv || fail "metrics.csv differs"
says scores/metrics.json '"predictions": "masks"' '"images": 4' '"images_wanted": 4' '"fit": null'
says scores/findings.json '"errors": 0' '"warnings": 0'
[ "$(head -n 1 scores/metrics.csv)" = "class,iou,recall,precision,f1,truth_pixels,predicted_pixels" ] || fail "metrics.csv"
[ "$(wc -l <scores/metrics.csv)" -eq 10 ] || fail "metrics.csv: a heading, 5 classes, 4 means"

# The truth may be a folder; what is nowhere is n/a.
expect 0 "$ATROUS" eval --predictions masks shapes/SegmentationClass --classes shapes/classes.txt \
    --list shapes/ImageSets/Segmentation/val.txt -o folder --no-plots
cmp -s network/confusion.csv folder/confusion.csv || fail "a folder of truth gives other counts"
printf 'background\ndisc\nbox\ntriangle\nring\nunicorn\n' >six.txt
expect 0 "$ATROUS" eval --predictions shapes/SegmentationClass shapes/SegmentationClass --classes six.txt -o perfect --no-plots
says out "mIoU 100.00 % over 5 of 6 classes" "with absent classes as 0 the mIoU is 83.33 %"
says perfect/metrics.csv '"unicorn",n/a,n/a,n/a,n/a,0,0' '"mean",1,1,1,1'
says perfect/metrics.json '"miou": 1' '"miou_all": 0.8333333333333334' '"iou": [1,1,1,1,1,null]' '"split": null'

# What does not fit is named and left out, the rest is scored: exit code 3.
set -- $(cat shapes/ImageSets/Segmentation/val.txt)
cp -R masks bad
rm "bad/$1.png"
cp "masks/$2.png" "bad/$(echo "$1" | tr '[:lower:]' '[:upper:]').png"
cp masks/"$2".overlay.png bad/"$2".png
expect 0 "$ATROUS" sample other -n 2 --width 32 --height 32
cp other/SegmentationClass/*0.png bad/"$3".png
cp "masks/$4.png" bad/extra.png
expect 3 "$ATROUS" eval --predictions bad data.h5 -o partly --no-plots
says err "error L06 1 of 4 pictures" "$1 (a file differs in upper and lower case)" "error L03 bad/$2.png" \
    "error L05 bad/$3.png" "the prediction is 32x32, the truth 64x48" "warning F06" "bad/extra.png" "1 of 4 pictures were scored"
says partly/metrics.json '"images": 1' '"images_wanted": 4'
says partly/findings.json '"errors": 3' '"warnings": 1' '"L05"'
sum=$(tr ',\n' '++' <partly/confusion.csv | sed 's/+$//')
[ $(($sum)) -eq $((64 * 48)) ] || fail "pixels of one picture: $(($sum))"

# A value that is no class, a picture saved as JPEG, a file cut short: none is guessed at.
cp -R masks values
cp shapes/JPEGImages/"$1".jpg values/ && rm values/"$1".png
head -c 60 "masks/$2.png" >"values/$2.png"
expect 0 "$ATROUS" pack shapes -o two.h5 --classes 2 --map 2=1,3=1,4=1
expect 3 "$ATROUS" eval --predictions values data.h5
says err "error L04 values/$1.jpg" "error F01 values/$2.png"
expect 1 "$ATROUS" eval --predictions shapes/SegmentationClass two.h5
says err "error L02 shapes/SegmentationClass/" "is no class" "none of the 4 predictions could be scored"
rm -rf none && mkdir none
expect 1 "$ATROUS" eval --predictions none data.h5
says err "no mask"
expect 1 "$ATROUS" eval --predictions nowhere data.h5
says err "nowhere"

# T02 needs no network either.
expect 0 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 1 --init-gain 1e-6 -o poor
expect 0 "$ATROUS" predict poor/best.h5 val -o flat
expect 0 "$ATROUS" eval --predictions flat data.h5
says err "T02" "--class-weights"

# Usage.
expect 2 "$ATROUS" eval --predictions masks
expect 2 "$ATROUS" eval --predictions masks run/best.h5 data.h5
expect 2 "$ATROUS" eval --predictions masks data.h5 --classes 5
says err "says all of that itself"
expect 2 "$ATROUS" eval --predictions masks shapes/SegmentationClass
says err "--classes N|FILE"
expect 2 "$ATROUS" eval --predictions masks data.h5 --fit none
says err "--fit is for a model"
expect 2 "$ATROUS" eval run/best.h5 data.h5 --list shapes/ImageSets/Segmentation/val.txt
says err "--list goes with --predictions"
expect 2 "$ATROUS" eval --predictions masks shapes/SegmentationClass --classes 5 --ignore x
printf '%s\nnobody\n' "$1" >list.txt
expect 3 "$ATROUS" eval --predictions masks shapes/SegmentationClass --classes 5 --list list.txt
says err "error F03" "nobody"
