# What a run shows of itself: event files, curves, loss on val, the end of the log, and the page that follows it.
. "$(dirname "$0")/train_common.sh"

watched="$ATROUS train data.h5 --size 48x64 --batch 4 --eval-period 1 --lr 7e-2 --seed 5 --epochs 2 --log-interval 1"
events() { ls run/events.out.tfevents.* 2>/dev/null | wc -l; }

expect 75 $watched -o run --stop-after 3
says run/log.jsonl '"kind":"end"' '"how":"stopped"'
[ "$(events)" -eq 1 ] || fail "one event file"
for tag in train/loss train/learning_rate speed/images_per_s; do
    grep -qa "$tag" run/events.out.tfevents.* || fail "no $tag in the event file"
done
expect 0 $watched -o run --resume
[ "$(events)" -eq 2 ] || fail "a second event file"
for tag in val/miou val/loss iou/background val/shape_; do
    grep -qa "$tag" run/events.out.tfevents.* || fail "no $tag in the event files"
done
grep -qa "values/backbone" run/events.out.tfevents.* && fail "histograms are off unless asked for"
says out "val loss"
[ "$(grep -c '"how":"done"' run/log.jsonl)" -eq 1 ] || fail "the log says once that the run is done"
says run/log.jsonl '"kind":"eval","epoch":2,"step":8'
if command -v gnuplot >/dev/null; then
    for picture in epoch_loss epoch_miou; do
        head -c 8 "run/$picture.png" | od -An -tx1 | grep -q '89 50 4e 47' || fail "$picture.png is no PNG"
    done
fi

# The loss on val is that of eval, on any number of ranks.
logged=$(grep '"kind":"eval"' run/log.jsonl | tail -n 1 | sed 's/.*"loss":\([^,]*\),.*/\1/')
expect 0 "$ATROUS" eval run/last.h5 data.h5 -o scores --no-plots
says scores/metrics.json "\"loss\": $logged,"
if command -v mpirun >/dev/null && ldd "$ATROUS" | grep -q libmpi; then
    for count in 2 3; do
        expect 0 ranks $count "$ATROUS" eval run/last.h5 data.h5 -o ranks$count --no-plots
        cmp -s scores/metrics.json ranks$count/metrics.json || fail "metrics differ on $count ranks"
    done
fi

# Starting over takes the old pictures and events away; what is switched off is not there.
expect 0 $watched -o run --force --max-steps 2 --no-tensorboard --no-curves
[ "$(events)" -eq 0 ] || fail "old event files are left"
[ ! -e run/epoch_loss.png ] || fail "an old picture is left"
expect 0 $watched -o histograms --max-steps 1 --tensorboard-histograms --tensorboard-images 0 --no-curves
grep -qa "values/backbone" histograms/events.out.tfevents.* || fail "no histograms"
grep -qa "gradients/backbone" histograms/events.out.tfevents.* || fail "no histograms of gradients"
grep -qa "val/shape_" histograms/events.out.tfevents.* && fail "pictures were not wanted"

# Without gnuplot a run goes on; that is said once.
mkdir bin
expect 0 env PATH="$folder/bin" $watched -o plain
says out "no curves in plain: there is no gnuplot"
[ "$(grep -c 'no gnuplot' out)" -eq 1 ] || fail "said once"
[ ! -e plain/epoch_loss.png ] || fail "a picture without gnuplot"

# A page follows a run until it ends, and then stays as it is.
expect 0 "$ATROUS" report run --watch --every 1 --samples 1
says out "run/report.html"
grep -q 'http-equiv="refresh"' run/report.html && fail "the page of a run that has ended reloads itself"
sed '/"kind":"end"/d' run/log.jsonl >log && cp log run/log.jsonl
expect 0 "$ATROUS" report run --watch --every 1 --samples 1 # nobody holds the lock: it was killed
grep -q "The last start of this run did not come to its end" run/report.html || fail "a killed run is not said to be one"
rm run/.lock # now nobody can tell
"$ATROUS" report run --watch --every 1 --samples 1 >out 2>err &
pid=$!
until grep -q 'http-equiv="refresh" content="1"' run/report.html; do
    kill -0 $pid 2>/dev/null || fail "it ended before the run"
    sleep 0.1
done
echo '{"kind":"end","step":2,"how":"done"}' >>run/log.jsonl
wait $pid || fail "it failed when the run ended"
grep -q 'http-equiv="refresh"' run/report.html && fail "the last page reloads itself"
cp log run/log.jsonl
rm out # what the one before said is no sign that this one listens
"$ATROUS" report run --watch --every 1000 --samples 0 >out 2>err &
pid=$!
until grep -qs "Ctrl-C" out; do
    kill -0 $pid 2>/dev/null || fail "it ended before Ctrl-C"
    sleep 0.1
done
kill -TERM $pid
wait $pid || fail "stopping it is no failure"
grep -q 'http-equiv="refresh"' run/report.html && fail "the last page after Ctrl-C reloads itself"
exit 0
