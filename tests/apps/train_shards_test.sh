# Several files as one data set: training, evaluation, info, report, on one and two ranks.
. "$(dirname "$0")/train_common.sh"

expect 0 "$ATROUS" pack shapes -o part.h5 --shards 3 --classes shapes/classes.txt --verify
says out "3 files, the first part-00001-of-00003.h5: 20 samples" "all 20 samples are sound"

# The same training, whatever the files are.
train="$small --epochs 1"
expect 0 "$ATROUS" train data.h5 $train -o one
expect 0 "$ATROUS" train part-00003-of-00003.h5 part-00001-of-00003.h5 part-00002-of-00003.h5 $train -o three
says out "data: part-00003-of-00003.h5 and 2 more, 16 train, 4 val"
same_run one three
says three/log.jsonl '"data":["part-00003-of-00003.h5","part-00001-of-00003.h5","part-00002-of-00003.h5"]'
expect 75 "$ATROUS" train 'part-*.h5' $train -o pattern --stop-after 2
expect 0 "$ATROUS" train data.h5 -o pattern --resume
same_run one pattern
if command -v mpirun >/dev/null && ldd "$ATROUS" | grep -q libmpi; then
    expect 0 ranks 2 "$ATROUS" train data.h5 $train --max-steps 2 --eval-period 0 -o ranks-one
    expect 0 ranks 2 "$ATROUS" train 'part-*.h5' $train --max-steps 2 --eval-period 0 -o ranks-three
    same_run ranks-one ranks-three
fi

# Evaluation: the same scores of the files, a folder of them, a list.
mkdir 'all of them'
cp part-0*.h5 'all of them'
ls part-0*.h5 >parts.txt
expect 0 "$ATROUS" eval one/best.h5 data.h5 -o scores
expect 0 "$ATROUS" eval one/best.h5 part-0*.h5 -o scores-files
expect 0 "$ATROUS" eval one/best.h5 'all of them' -o scores-folder
expect 0 "$ATROUS" eval one/best.h5 parts.txt -o scores-list
for how in files folder list; do
    cmp -s scores/confusion.csv scores-$how/confusion.csv || fail "other scores of $how"
done

# Info: the same fingerprint; the report finds the files by the run's log.
expect 0 "$ATROUS" info data.h5
fingerprint=$(sed -n 's/.*\(fingerprint [0-9a-f]*\)$/\1/p' out)
for names in part-00001-of-00003.h5\ part-00002-of-00003.h5\ part-00003-of-00003.h5 'part-*.h5' parts.txt; do
    # Names are words here.
    expect 0 "$ATROUS" info $names
    says out "3 files: part-00001-of-00003.h5 and 2 more: 20 samples" "$fingerprint"
done
expect 0 "$ATROUS" info 'all of them' --json
says out '"kind":"data set"' '"files":3' '"samples":20'
expect 0 "$ATROUS" doctor 'all of them'
says out "all of them: data set, all 20 samples are sound"
expect 2 "$ATROUS" info one
says err "one is a folder"
expect 2 "$ATROUS" info one/last.h5 one/best.h5
says err "several files are shown together where they are one data set only"
expect 0 "$ATROUS" report three
says three/report.html "part-00003-of-00003.h5 and 2 more"

# A part that is missing is a warning, what cannot be one data set an error with both names.
expect 0 "$ATROUS" train part-00001-of-00003.h5 part-00003-of-00003.h5 $train --max-steps 1 -o gap
says err "P03: part-00001-of-00003.h5 was packed as 1 of 3 files; 2 of them are here, number 2 is missing"
expect 1 "$ATROUS" train data.h5 part-00001-of-00003.h5 $train -o twice
says err "P03: data.h5 and part-00001-of-00003.h5 cannot be one data set: both hold a sample"
expect 1 "$ATROUS" train 'none-*.h5' $train -o none
says err "none-*.h5: no file has a name of this pattern"
