# Requests to stop whenever they come, time limits, and two jobs on one folder: all is saved, the code is 75, and the run goes on.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 2"
endless="$ATROUS train data.h5 $small --epochs 1000 --eval-period 0"

# until_there PID COMMAND...: waits until it succeeds, while PID lives.
until_there() {
    watched=$1
    shift
    until "$@" 2>/dev/null; do
        kill -0 "$watched" 2>/dev/null || fail "ended before: $*"
        sleep 0.02
    done
}

# ended PID CODE WHAT
ended() {
    wait "$1"
    code=$?
    [ "$code" -eq "$2" ] || fail "$3: exit $code instead of $2"
}

# During start-up: once it ended the process, and nothing put the job back into the queue.
$train -o early >out 2>err &
pid=$!
until_there $pid [ -f early/.lock ]
kill -USR1 $pid
kill -USR1 $pid # batch systems and launchers may both send it
ended $pid 75 "SIGUSR1 during start-up"
says out "R03: SIGUSR1"
expect 0 $train -o straight
expect 0 $train -o early --resume
same_run straight early

# The terminal is closed.
$endless -o hangup >out 2>err &
pid=$!
until_there $pid grep -q '"step":2,' hangup/log.jsonl
kill -HUP $pid
ended $pid 75 SIGHUP
says out "R03: SIGHUP: saved step"
says hangup/log.jsonl '"how":"stopped"'

# Times: one step is made however short they are.
expect 75 $endless -o timed --max-time 0:03
says out "R03: --max-time: saved step"
steps=$(losses timed | wc -l)
expect 75 $endless -o timed --resume --max-time 0.01
says out "resumed after step $steps" "R03: --max-time: saved step $((steps + 1))"
SLURM_JOB_END_TIME=$(($(date +%s) + 33)) expect 75 $endless -o job
says out "R03: end of the job's time: saved step"
expect 2 $train -o wrong --max-time soon
says err "--max-time: 'soon' is no time"
[ ! -d wrong ] || fail "a wrong option makes a folder"

# During an evaluation, which is given up and made again.
expect 0 "$ATROUS" pack shapes -o most.h5 --classes shapes/classes.txt --split 0.2:0.8 --force
long="$ATROUS train most.h5 --size 256 --batch 4 --log-interval 1 --eval-period 1 --seed 5 --no-curves --epochs 1"
$long -o evaluating >out 2>err &
pid=$!
until_there $pid grep -q '"step":1,' evaluating/log.jsonl
kill -TERM $pid
ended $pid 75 "SIGTERM during an evaluation"
says out "R03: SIGTERM: saved step 1 "
! grep -q '"kind":"eval"' evaluating/log.jsonl || fail "the evaluation went on"
expect 0 $long -o evaluating --resume
says evaluating/log.jsonl '"kind":"eval","epoch":1,"step":1,'
[ "$(losses evaluating | wc -l)" -eq 1 ] || fail "steps were made twice"

# Two jobs on one folder.
$endless -o shared --save-steps 2 >out.first 2>err.first &
pid=$!
until_there $pid [ -f shared/last.h5 ]
expect 2 $endless -o shared --resume
says err "R04: another job writes to shared: node $(uname -n), process $pid, since 2"
expect 2 $endless -o shared --force
says err "R04: "
[ -f shared/last.h5 ] || fail "a refused job removed the other's files"
expect 0 "$ATROUS" report shared -o page.html
says page.html "still being trained"

# One that was killed holds nothing, and its log has no last word.
kill -KILL $pid
wait $pid
expect 0 "$ATROUS" report shared -o page.html
says page.html "did not come to its end"
expect 75 $endless -o shared --resume --max-time 1
says out "R03: the last start of this run did not come to its end" "resumed after step"
says shared/log.jsonl '"how":"stopped"'
