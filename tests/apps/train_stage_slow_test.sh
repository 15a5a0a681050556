# --stage: a copy that was interrupted, written to, or damaged; two jobs at once; other numbers of ranks.
. "$(dirname "$0")/train_common.sh"

# Some megabytes, so that a file has several pieces (of 4 MiB).
expect 0 "$ATROUS" sample large -n 16 --width 1920 --height 1440
expect 0 "$ATROUS" pack large -o 'the data.h5' --classes large/classes.txt
expect 0 "$ATROUS" pack large -o part.h5 --classes large/classes.txt --shards 3
size=$(wc -c <'the data.h5' | awk '{printf "%.1f MB", $1 / 1e6}')
train="--size 48x64 --batch 4 --max-steps 1 --eval-period 0 --log-interval 1 --seed 5 --no-curves --no-tensorboard"
copies() { find "$1" -name '*.h5' | wc -l; }

mkdir 'local disk'
expect 0 "$ATROUS" train 'the data.h5' $train -o plain --stage 'local disk'
copy=$(find "$PWD/local disk" -name '*.h5')

# Killed half-way: two pieces are there, of which one was lost since.
mv "$copy" "$copy.partial"
dd if=/dev/zero of="$copy.partial" bs=4096 seek=1100 count=8 conv=notrunc 2>/dev/null
expect 0 "$ATROUS" train 'the data.h5' $train -o resumed --stage 'local disk'
says out "/the data.h5: 4.2 MB copied by 1 rank in " " MB were there"
cmp -s 'the data.h5' "$copy" || fail "the resumed copy differs"

# Written to: noticed at the next start.
sleep 0.1
dd if=/dev/zero of="$copy" bs=4096 seek=1100 count=8 conv=notrunc 2>/dev/null
expect 0 "$ATROUS" train 'the data.h5' $train -o repaired --stage 'local disk'
says err "P05: local disk/atrous-$(id -u)/" "is not as it was copied: it is checked and repaired"
cmp -s 'the data.h5' "$copy" || fail "the repaired copy differs"
same_run plain repaired

# Written to without a trace (a bad disk): the run takes the sample from the source, the next start repairs the copy.
touch -r "$copy" when
dd if=/dev/zero of="$copy" bs=4096 seek=400 count=1600 conv=notrunc 2>/dev/null
touch -r when "$copy"
expect 0 "$ATROUS" train 'the data.h5' $train -o rescued --stage 'local disk' --max-steps 4
says err "P05: local disk/atrous-$(id -u)/" "what is wrong in it is read from the data.h5"
expect 0 "$ATROUS" train 'the data.h5' $train -o rescued2 --stage 'local disk'
cmp -s 'the data.h5' "$copy" || fail "the copy is not repaired after it was found damaged"
same_run plain rescued2

# Two jobs at once, on an empty disk: one copy, two good runs.
mkdir shared
"$ATROUS" train 'the data.h5' $train -o job1 --stage shared >out1 2>err1 &
one=$!
"$ATROUS" train 'the data.h5' $train -o job2 --stage shared >out2 2>err2 &
two=$!
wait $one || fail "the first of two jobs: $(cat err1)"
wait $two || fail "the second of two jobs: $(cat err2)"
[ "$(copies shared)" -eq 1 ] || fail "$(copies shared) copies of two jobs"
cmp -s 'the data.h5' "$(find shared -name '*.h5')" || fail "two jobs have ruined the copy"
same_run plain job1
same_run plain job2

# Ranks of one node share one copy; several files; interrupted, and gone on with by another number of ranks.
if command -v mpirun >/dev/null && ldd "$ATROUS" | grep -q libmpi; then
    for count in 2 3; do
        mkdir "ranks $count"
        expect 0 ranks $count "$ATROUS" train 'the data.h5' $train -o ranks$count --stage "ranks $count"
        says out "/the data.h5: $size copied by $count ranks in "
        [ "$(copies "ranks $count")" -eq 1 ] || fail "$count ranks made $(copies "ranks $count") copies"
        cmp -s 'the data.h5' "$(find "ranks $count" -name '*.h5')" || fail "the copy by $count ranks differs"
    done
    mkdir empty
    expect 0 ranks 2 "$ATROUS" train 'part-*.h5' $train -o parts --stage empty
    says out "part-00001-of-00003.h5 and 2 more: " " copied by 2 ranks in "
    [ "$(copies empty)" -eq 3 ] || fail "three files have $(copies empty) copies"
    victim=$(find "$PWD/empty" -name 'part-00002*.h5')
    mv "$victim" "$victim.partial"
    truncate -s 1000 "$victim.partial"
    expect 0 ranks 3 "$ATROUS" train 'part-*.h5' $train -o parts3 --stage empty
    says out " copied by 3 ranks in " " MB were there"
    cmp -s part-00002-of-00003.h5 "$victim" || fail "the copy that went on differs"
fi
