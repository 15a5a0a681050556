# --stage: one copy for the ranks of a node, found again; no room. More in train_stage_slow_test.sh.
. "$(dirname "$0")/train_common.sh"

cleanup() {
    [ -z "${small_disk:-}" ] || umount "$small_disk"
    rm -rf "$folder"
}
trap cleanup EXIT

# Some megabytes, so that a file has several pieces (of 4 MiB).
expect 0 "$ATROUS" sample large -n 16 --width 1920 --height 1440
expect 0 "$ATROUS" pack large -o 'the data.h5' --classes large/classes.txt
[ "$(wc -c <'the data.h5')" -gt 8388608 ] || fail "the data are too small for this test"
size=$(wc -c <'the data.h5' | awk '{printf "%.1f MB", $1 / 1e6}')
train="--size 48x64 --batch 4 --max-steps 1 --eval-period 0 --log-interval 1 --seed 5 --no-curves --no-tensorboard"
copies() { find "$1" -name '*.h5' | wc -l; }

expect 0 "$ATROUS" train 'the data.h5' $train -o plain
mkdir 'local disk'
expect 0 "$ATROUS" train 'the data.h5' $train -o staged --stage 'local disk'
says out "staged: local disk/atrous-$(id -u)/" "/the data.h5: $size copied by 1 rank in " "MB/s)" "data: the data.h5, "
same_run plain staged
copy=$(find "$PWD/local disk" -name '*.h5')
cmp -s 'the data.h5' "$copy" || fail "the copy differs"
says staged/log.jsonl '"data":"the data.h5"'
if grep -q stage staged/config.yaml; then fail "--stage belongs to the start, not to the run"; fi

# Found again; a run that may not begin copies nothing.
expect 0 "$ATROUS" train 'the data.h5' $train -o again --stage 'local disk'
says out "/the data.h5: found, $size, in "
same_run plain again
mkdir empty
expect 2 "$ATROUS" train 'the data.h5' $train -o again --stage empty
[ -z "$(ls empty)" ] || fail "copied for a run that exists"
expect 2 "$ATROUS" train 'the data.h5' $train -o none --stage nowhere
says err "--stage nowhere: no such folder"

# eval finds the copy that train has made, makes one itself, and gives the same numbers.
expect 0 "$ATROUS" eval plain/last.h5 'the data.h5' --json
cp out plain.json
expect 0 "$ATROUS" eval plain/last.h5 'the data.h5' --json --stage 'local disk'
says err "staged: local disk/" "/the data.h5: found, $size, in "
cmp -s out plain.json || fail "eval of the copy differs"
mkdir other
expect 0 "$ATROUS" eval plain/last.h5 'the data.h5' --stage other
says err "/the data.h5: $size copied by 1 rank in "
[ "$(copies other)" -eq 1 ] || fail "eval copied nothing"
expect 2 "$ATROUS" eval plain/last.h5 'the data.h5' --stage nowhere
says err "--stage nowhere: no such folder"
expect 2 "$ATROUS" eval --predictions large 'the data.h5' --stage other
says err "--stage is for a model"

# Another job copies there: this one waits, and can be told to stop.
if command -v flock >/dev/null; then
    mkdir busy
    mkdir -m 700 "busy/atrous-$(id -u)"
    exec 9>"busy/atrous-$(id -u)/lock"
    flock 9
    "$ATROUS" train 'the data.h5' $train -o waits --stage busy >out 2>err 9>&- &
    pid=$!
    until grep -q 'waits for another job that copies to busy' err; do
        kill -0 $pid 2>/dev/null || fail "does not wait for the other job"
        sleep 0.1
    done
    kill -USR1 $pid
    wait $pid
    code=$?
    [ "$code" -eq 75 ] || fail "SIGUSR1 while it waits: exit $code instead of 75"
    says out "R03: SIGUSR1: stopped before the first step"
    exec 9>&-
    expect 0 "$ATROUS" train 'the data.h5' $train -o waits --resume --stage busy
    same_run plain waits
fi

# No room, on a small disk of its own where that may be made.
mkdir small
if mount -t tmpfs -o size=4m none small 2>/dev/null; then
    small_disk=$PWD/small
    expect 1 "$ATROUS" train 'the data.h5' $train -o full --stage small
    says err "P04: no room to stage in small: $size are needed, 4.2 MB are free."
    [ "$(copies small)" -eq 0 ] || fail "something was copied to a disk without room"
else
    echo "no tmpfs may be mounted: not tried what happens on a full disk"
fi

# Ranks of one node share one copy of each of several files.
if command -v mpirun >/dev/null && ldd "$ATROUS" | grep -q libmpi; then
    expect 0 "$ATROUS" pack large -o part.h5 --classes large/classes.txt --shards 3
    expect 0 ranks 2 "$ATROUS" train 'part-*.h5' $train -o parts --stage empty
    says out "part-00001-of-00003.h5 and 2 more: " " copied by 2 ranks in "
    [ "$(copies empty)" -eq 3 ] || fail "three files have $(copies empty) copies"
    for number in 1 2 3; do
        cmp -s part-0000$number-of-00003.h5 "$(find empty -name "part-0000$number*.h5")" || fail "copy $number differs"
    done
    expect 0 ranks 2 "$ATROUS" eval parts/last.h5 'part-*.h5' --stage other
    [ "$(copies other)" -eq 4 ] || fail "eval copied $(copies other) files instead of 4"
    if [ -n "${small_disk:-}" ]; then
        expect 1 ranks 2 "$ATROUS" train 'the data.h5' $train -o full2 --stage small
        says err "P04: no room to stage in small"
    fi
fi
