# The command pack from its help to a damaged file: exit codes, what it says and where.
set -u

: "${ATROUS:?path of the program}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/atrous-pack.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder" || exit 1

fail() {
    echo "FAILED: $*" >&2
    [ ! -s err ] || sed 's/^/  err: /' err >&2
    [ ! -s out ] || sed 's/^/  out: /' out >&2
    exit 1
}

# expect CODE COMMAND...: runs it with its output in ./out and ./err.
expect() {
    wanted=$1
    shift
    "$@" >out 2>err
    code=$?
    [ "$code" -eq "$wanted" ] || fail "exit $code instead of $wanted: $*"
}

# says FILE TEXT...: each text stands in the file.
says() {
    file=$1
    shift
    for text in "$@"; do
        grep -qF -e "$text" "$file" || fail "$file does not say: $text"
    done
}

expect 0 "$ATROUS" sample shapes --count 20 --width 48 --height 40
classes=$(grep -c . shapes/classes.txt)

expect 0 "$ATROUS" pack --help
says out "--classes" "--ignore" "--split" "--group-regex" "--missing-mask" "--binary-255" "--exif"
expect 2 "$ATROUS" pack shapes
says err "-o DATA.h5 is missing"
expect 2 "$ATROUS" pack shapes -o data.h5
says err "--classes"
expect 2 "$ATROUS" pack shapes -o data.h5 --classes 3 --ignore x
expect 2 "$ATROUS" pack shapes -o data.h5 --classes 3 --map 7:2
expect 2 "$ATROUS" pack shapes -o data.h5 --classes 3 --exif maybe
expect 1 "$ATROUS" pack nowhere -o data.h5 --classes 3
says err "nowhere"

# A good set: packed, verified, counted; a second time only with --force.
expect 0 "$ATROUS" pack shapes -o data.h5 --classes shapes/classes.txt --verify --stats
says out "20 samples (train 16, val 4, test 0)" "all 20 samples are sound" "background" "(ignored)"
says data.h5.report.json '"errors": 0'
expect 2 "$ATROUS" pack shapes -o data.h5 --classes shapes/classes.txt
says err "--force"
expect 0 "$ATROUS" pack data.h5 --stats --json
says out '"samples":20' '"fingerprint"' '"mean"' '"train":{"samples":16,"pixels":['
cp data.h5 first.h5
expect 0 "$ATROUS" pack shapes -o data.h5 --classes shapes/classes.txt --force --threads 1
cmp data.h5 first.h5 || fail "the same input gives other bytes"
expect 0 "$ATROUS" pack shapes -o drawn.h5 --classes "$classes" --split 0.5:0.5 --seed 3
says out "20 samples"

# Too few classes: L02, nothing written, all in the report.
expect 1 "$ATROUS" pack shapes -o small.h5 --classes 2
says err "error L02 SegmentationClass/" "the class list has 2 names (0..1)" "--map" "small.h5 is not written"
says small.h5.report.json '"code": "L02"'
[ ! -e small.h5 ] || fail "a refused set was written"
expect 0 "$ATROUS" pack shapes -o small.h5 --classes 2 --map 2=1,3=1,4=ignore,5=ignore,6=ignore

# Warnings only: written, and refused when strict.
expect 0 "$ATROUS" pack shapes -o more.h5 --classes $((classes + 1))
says err "warning L08"
expect 1 "$ATROUS" pack shapes -o strict.h5 --classes $((classes + 1)) --strict
says err "error L08"

# labelme: told by content, labels by name, written out in VOC layout and read again.
mkdir annotated
for i in 1 2 3; do
    cp "shapes/JPEGImages/$(ls shapes/JPEGImages | sed -n ${i}p)" annotated/p$i.jpg
    printf '{"imagePath":"p%s.jpg","imageData":null,"shapes":[{"label":"Dog ","points":[[3,4],[40,9],[9,30]]}]}' \
        $i >annotated/p$i.json
done
printf '__ignore__\n_background_\ndog\n' >labels.txt
expect 1 "$ATROUS" pack annotated -o lm.h5 --classes labels.txt --split 1:1
says err "error L07 p1.json: label 'Dog ' (1 shape) is not in labels.txt (did you mean 'dog'?)" "lm.h5 is not written"
says lm.h5.report.json '"code": "L07"'
expect 2 "$ATROUS" pack annotated -o lm.h5 --classes 2 --split 1:1
says err "--classes must be a file for format labelme"
expect 2 "$ATROUS" pack annotated -o lm.h5 --classes labels.txt --split 1:1 --binary-255
expect 2 "$ATROUS" pack annotated -o lm.h5 --classes labels.txt --split 1:1 --format coco
says err "there are voc, labelme"
expect 2 "$ATROUS" pack shapes -o lm.h5 --classes 5 --map 'Dog =1'
says err "the left side is a stored value"
expect 0 "$ATROUS" pack annotated -o lm.h5 --to-voc voc/ --classes labels.txt --split 1:1 --map 'Dog =dog' --verify --stats
says out "3 samples" "voc/: the same in VOC layout" "all 3 samples are sound" "_background_"
expect 2 "$ATROUS" pack annotated --to-voc voc --classes labels.txt --split 1:1 --map 'Dog =dog'
says err "not empty"
expect 2 "$ATROUS" pack annotated --to-voc other --classes labels.txt --split 1:1 --stats
says err "give -o DATA.h5 too"
[ "$(cat voc/classes.txt)" = "_background_
dog" ] || fail "voc/classes.txt"
expect 0 "$ATROUS" pack voc -o again.h5 --classes voc/classes.txt
says out "3 samples"
cmp voc/JPEGImages/p1.jpg annotated/p1.jpg || fail "--to-voc changed a picture"
expect 0 "$ATROUS" pack shapes --to-voc copy --classes shapes/classes.txt
says out "20 samples"
cmp copy/ImageSets/Segmentation/val.txt shapes/ImageSets/Segmentation/val.txt || fail "--to-voc changed a list"

# Damage and truncation are named.
size=$(wc -c <data.h5)
cp data.h5 bad.h5
printf 'damage' | dd of=bad.h5 bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
expect 1 "$ATROUS" pack bad.h5 --verify
says err "bad.h5"
head -c $((size / 2)) data.h5 >short.h5
expect 1 "$ATROUS" pack short.h5 --verify
says err "short.h5"
expect 1 "$ATROUS" pack shapes/classes.txt --stats
exit 0
