# The job scripts without a batch system: what they would start, how they hand signals on, and that shellcheck likes them.
set -u

: "${ATR_SOURCE_DIR:?}"
cluster=$ATR_SOURCE_DIR/cluster
work=$(mktemp -d "${TMPDIR:-/tmp}/atrous-cluster.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset SLURM_JOB_ID SLURM_JOB_NUM_NODES SLURM_NTASKS_PER_NODE SLURM_CPUS_PER_TASK PBS_NODEFILE OMP_NUM_THREADS ATROUS

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# starts TEXT VARIABLE=VALUE...: the command that mpirun.sh would start holds the text.
starts()
{
    wanted=$1
    shift
    line=$(env "$@" ATROUS_DRY=1 "$cluster/mpirun.sh" atrous train 'my data.h5') || fail "mpirun.sh with $*"
    case $line in *"$wanted"*) ;; *) fail "'$line' does not hold '$wanted'" ;; esac
}

starts '-n 8 --map-by ppr:2:node:PE=16 --bind-to core ' ATROUS_NODES=4 ATROUS_RANKS=2 ATROUS_CORES=16
starts 'atrous train my\ data.h5' ATROUS_RANKS=1
starts '-n 6 --map-by ppr:2:node:PE=1' SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=3 SLURM_NTASKS_PER_NODE=2 SLURM_CPUS_PER_TASK=1
starts ' --mca pml ob1 atrous' ATROUS_MPIRUN='--mca pml ob1'
starts '-n 1 --map-by ppr:1:node:PE=' ATROUS_RANKS=1
printf 'a\na\nb\nb\n' >hosts
starts '-n 4 --map-by ppr:2:node:PE=1 --bind-to core --hostfile hosts' ATROUS_HOSTFILE=hosts ATROUS_RANKS=2 ATROUS_CORES=1
code=0
"$cluster/mpirun.sh" 2>usage || code=$?
[ $code -eq 2 ] && grep -q ATROUS_RANKS usage || fail "mpirun.sh without a command"

# A signal of the batch system becomes SIGUSR1 for the program, whose code comes back: twice in a row too.
cat >program.sh <<'PROGRAM'
trap 'echo asked >>asked; sleep 0.3; exit 75' USR1
echo ready >ready
while :; do sleep 0.05; done
PROGRAM
for signal in USR1 TERM; do
    rm -f ready asked
    bash -c '. "$0/env.sh"; atrous_run bash program.sh; code=$?; echo "$code $atrous_signal" >code' "$cluster" &
    pid=$!
    until [ -e ready ]; do sleep 0.05; done
    kill -$signal $pid
    wait $pid
    [ "$(cat code)" = "75 $signal" ] || fail "SIG$signal gives '$(cat code)' instead of '75 $signal'"
    [ "$(wc -l <asked)" -eq 1 ] || fail "the program was asked $(wc -l <asked) times"
done
# A program that cannot take the signal yet dies of it, which must not keep the job from going on.
rm -f ready
bash -c '. "$0/env.sh"; atrous_run sh -c "echo >ready; exec sleep 60"; code=$?; echo "$code $atrous_signal" >code' "$cluster" &
pid=$!
until [ -e ready ]; do sleep 0.05; done
kill -USR1 $pid
wait $pid
[ "$(cat code)" = "75 USR1" ] || fail "SIGUSR1 before the program can take it gives '$(cat code)' instead of '75 USR1'"
bash -c '. "$0/env.sh"; atrous_run sh -c "exit 3"' "$cluster"
[ $? -eq 3 ] || fail "the program's own code is lost"
[ "$(env ATROUS_CORES=5 bash -c '. "$0/env.sh"; echo "$OMP_NUM_THREADS $OMP_PLACES"' "$cluster")" = '5 cores' ] || fail "env.sh"

# Cores are those that this process may use, and Slurm's hardware threads are no cores.
if command -v taskset >/dev/null; then
    cpu=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*\([0-9]*\).*/\1/p' /proc/self/status)
    line=$(ATROUS_RANKS=1 ATROUS_DRY=1 taskset -c "$cpu" "$cluster/mpirun.sh" atrous)
    case $line in *':node:PE=1 '*) ;; *) fail "'$line': one CPU is one core" ;; esac
    line=$(SLURM_JOB_ID=1 SLURM_CPUS_PER_TASK=2 ATROUS_RANKS=1 ATROUS_DRY=1 taskset -c "$cpu" "$cluster/mpirun.sh" atrous)
    case $line in *':node:PE=1 '*) ;; *) fail "'$line': two hardware threads are one core" ;; esac
fi

# Where the data are copied to.
staged() { env "$@" bash -c '. "$0/env.sh"; printf "%s|" ${atrous_stage[@]+"${atrous_stage[@]}"}' "$cluster" 2>staged; }
unset ATROUS_STAGE SLURM_TMPDIR
[ "$(staged ATROUS_STAGE=)" = '|' ] || fail "staging that nobody asked for"
[ "$(staged ATROUS_STAGE='/local disk')" = '--stage|/local disk|' ] || fail "ATROUS_STAGE with a blank"
[ "$(staged ATROUS_STAGE=job TMPDIR=/t)" = '--stage|/t|' ] || fail "ATROUS_STAGE=job with TMPDIR"
[ "$(staged ATROUS_STAGE=job TMPDIR=/t SLURM_TMPDIR=/s)" = '--stage|/s|' ] || fail "ATROUS_STAGE=job with SLURM_TMPDIR"
[ "$(staged -u TMPDIR ATROUS_STAGE=job)" = '|' ] && grep -q 'nothing is staged' staged || fail "ATROUS_STAGE=job without a folder"

# Whole scripts, with stand-ins for the batch system and mpirun: what they start, and what they do when it ends with 75.
mkdir bin 'job scripts' && cp "$cluster"/* 'job scripts' 2>/dev/null
stub()
{
    cat >"bin/$1"
    chmod +x "bin/$1"
}
stub mpirun <<'STUB'
#!/bin/sh
echo "mpirun $* | OMP_NUM_THREADS=$OMP_NUM_THREADS" >>calls
while [ -n "$PBS_JOBID" ] && [ ! -s sleeps ]; do "$REAL_SLEEP" 0.1; done
exit "${MPIRUN_CODE:-75}"
STUB
stub scontrol <<'STUB'
#!/bin/sh
case $1 in
show) printf 'JobId=%s JobName=atrous\n   Command=%s\n   WorkDir=/\n' "$3" "$COMMAND" ;;
*) echo "scontrol $*" >>calls ;;
esac
STUB
stub sleep <<'STUB'
#!/bin/sh
echo "sleep $*" >>sleeps
[ "$1" -eq 60 ] || exec "$REAL_SLEEP" 30
STUB
stub qstat <<'STUB'
#!/bin/sh
printf 'Job Id: 7.server\n    Job_Name = atrous\n    Resource_List.select = 2:ncpus=4:mpi\n\tprocs=2\n    Resource_List.walltime = 01:30:00\n    substate = 42\n'
STUB
stub qsub <<'STUB'
#!/bin/sh
echo "qsub $* | $ATROUS_STARTS" >>calls
STUB
stub qrerun <<'STUB'
#!/bin/sh
echo "qrerun $*" >>calls
exit "${QRERUN_CODE:-1}"
STUB

REAL_SLEEP=$(command -v sleep)
export REAL_SLEEP

# runs CODE VARIABLE=VALUE... -- SCRIPT [ARGUMENT...]
runs()
{
    wanted=$1
    shift
    rm -f calls sleeps
    settings=
    while [ "$1" != -- ]; do settings="$settings '$1'" && shift; done
    shift
    code=0
    eval "env PATH='$work/bin:$PATH' $settings bash \"\$@\"" >out 2>err || code=$?
    [ "$code" -eq "$wanted" ] || fail "exit $code instead of $wanted: $* ($(cat err))"
}
called() { grep -qF -e "$1" calls || fail "no '$1' among: $(cat calls)"; }

slurm="SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=2 SLURM_NTASKS_PER_NODE=1 SLURM_CPUS_PER_TASK=1"
for command in "$work/job scripts/train.sbatch" "$work/job scripts/train.sbatch my data.h5 -o run"; do
    # shellcheck disable=SC2086
    runs 75 $slurm "COMMAND=$command" ATROUS_STAGE=/dev/shm -- 'job scripts/train.sbatch' 'my data.h5' -o run
    called 'mpirun -n 2 --map-by ppr:1:node:PE=1 --bind-to core'
    called 'atrous train my data.h5 -o run --stage /dev/shm --resume | OMP_NUM_THREADS=1'
    called 'scontrol requeue 7'
done
runs 0 $slurm MPIRUN_CODE=0 "COMMAND=$work/job scripts/train.sbatch" -- 'job scripts/train.sbatch' d.h5 -o run
! grep -q requeue calls || fail "a finished job is requeued"
runs 75 $slurm SLURM_RESTART_COUNT=3 ATROUS_RESTARTS=3 "COMMAND=$work/job scripts/train.sbatch" -- 'job scripts/train.sbatch' d.h5 -o run
! grep -q requeue calls || fail "requeued more often than ATROUS_RESTARTS says"
runs 1 $slurm 'COMMAND=(null)' -- 'job scripts/train.sbatch' d.h5 -o run
grep -q 'ATROUS_CLUSTER' err || fail "a script that came by a pipe does not say what it needs"
runs 75 $slurm 'COMMAND=(null)' "ATROUS_CLUSTER=$work/job scripts" -- 'job scripts/train.sbatch' d.h5 -o run
if command -v taskset >/dev/null; then
    rm -f calls
    # shellcheck disable=SC2086
    taskset -c "$cpu" env PATH="$work/bin:$PATH" $slurm SLURM_CPUS_PER_TASK=2 "COMMAND=$work/job scripts/train.sbatch" bash 'job scripts/train.sbatch' d.h5 -o run >out 2>err
    called ':node:PE=1 --bind-to core'
    called '| OMP_NUM_THREADS=1'
fi
# One task of an array, which may have the array's number.
runs 75 $slurm SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=4 "COMMAND=$work/job scripts/array.sbatch" -- 'job scripts/array.sbatch' d.h5 'all runs' --epochs 3
called 'atrous train d.h5 -o all runs/seed-4 --seed 4 --epochs 3 --resume'
called 'scontrol requeue 7_4'

printf 'a\na\nb\nb\n' >nodes
pbs="PBS_JOBID=7.server PBS_NODEFILE=nodes NCPUS=4 OMP_NUM_THREADS=4"
runs 75 $pbs "PBS_O_WORKDIR=$work" "ATROUS_CLUSTER=$work/job scripts" 'ATROUS_ARGUMENTS=d.h5 -o run' ATROUS_STAGE=/scratch -- 'job scripts/train.pbs'
called 'mpirun -n 4 --map-by ppr:2:node:PE=2 --bind-to core --hostfile nodes'
called 'atrous train d.h5 -o run --stage /scratch --resume | OMP_NUM_THREADS=2'
called 'qrerun 7.server'
called 'qsub -l select=2:ncpus=4:mpiprocs=2 -l walltime=5400 -v ATROUS_ARGUMENTS,ATROUS_CLUSTER,ATROUS_STARTS,ATROUS_STAGE'
called 'train.pbs | 2'
grep -q '^sleep 5100$' sleeps || fail "the time limit is not PBS's own: $(cat sleeps)"
runs 75 $pbs QRERUN_CODE=0 PBS_WALLTIME=100 "PBS_O_WORKDIR=$work" "ATROUS_CLUSTER=$work/job scripts" 'ATROUS_ARGUMENTS=d.h5 -o run' -- 'job scripts/train.pbs'
! grep -q qsub calls || fail "put back and submitted again"
grep -q '^sleep 90$' sleeps || fail "a short time limit: $(cat sleeps)"
runs 75 $pbs ATROUS_STARTS=5 ATROUS_RESTARTS=4 "PBS_O_WORKDIR=$work" "ATROUS_CLUSTER=$work/job scripts" 'ATROUS_ARGUMENTS=d.h5 -o run' -- 'job scripts/train.pbs'
! grep -q 'qsub\|qrerun' calls || fail "submitted more often than ATROUS_RESTARTS says"

for script in "$cluster"/*.sbatch "$cluster"/*.pbs "$cluster"/*.sh; do
    bash -n "$script" || fail "$script is no bash"
done
if command -v shellcheck >/dev/null; then
    (cd "$ATR_SOURCE_DIR" && shellcheck -x cluster/*.sh cluster/*.sbatch cluster/*.pbs) || fail "shellcheck"
else
    echo "no shellcheck here: not asked"
fi
