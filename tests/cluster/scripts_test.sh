# The job scripts without a batch system: what they would start, how they hand signals on, and that shellcheck likes them.
set -u

: "${ATR_SOURCE_DIR:?}"
cluster=$ATR_SOURCE_DIR/cluster
work=$(mktemp -d "${TMPDIR:-/tmp}/atrous-cluster.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset SLURM_JOB_ID SLURM_JOB_NUM_NODES SLURM_NTASKS_PER_NODE SLURM_CPUS_PER_TASK PBS_NODEFILE OMP_NUM_THREADS

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
starts '-n 6 --map-by ppr:2:node:PE=3' SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=3 SLURM_NTASKS_PER_NODE=2 SLURM_CPUS_PER_TASK=3
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

for script in "$cluster"/*.sbatch "$cluster"/*.pbs "$cluster"/*.sh; do
    bash -n "$script" || fail "$script is no bash"
done
if command -v shellcheck >/dev/null; then
    (cd "$ATR_SOURCE_DIR" && shellcheck -x cluster/*.sh cluster/*.sbatch cluster/*.pbs) || fail "shellcheck"
else
    echo "no shellcheck here: not asked"
fi
