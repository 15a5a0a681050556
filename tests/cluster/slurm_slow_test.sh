# A real Slurm of this machine alone (munge, controller, one virtual node) runs cluster/train.sbatch: the time limit stops the job,
# it saves, goes back into the queue by itself, and ends with the parameters of a run that was never stopped. Everything lies
# in a temporary folder and ends with the test. Packages: `./run slurm`.
set -u

: "${ATROUS:?path of the program}" "${ATR_SOURCE_DIR:?}"
skip()
{
    echo "skipped: $*"
    exit 77
}

PATH=$PATH:/usr/sbin:/sbin
for program in slurmctld slurmd munged sbatch scontrol mpirun; do
    command -v $program >/dev/null || skip "there is no $program (./run slurm installs slurm-wlm and munge)"
done
[ "$(id -u)" -eq 0 ] || skip "slurmd and munged want root here"
ldd "$ATROUS" | grep -q libmpi || skip "built without MPI"

work=$(mktemp -d "${TMPDIR:-/tmp}/atrous-slurm.XXXXXX")
cd "$work" || exit 1
export SLURM_CONF=$work/slurm.conf
daemons=

clean_up()
{
    scancel --quiet --user root >/dev/null 2>&1
    for pid in $daemons; do
        kill "$pid" 2>/dev/null
    done
    for pid in $daemons; do
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail()
{
    echo "FAILED: $*" >&2
    for log in slurmctld.log slurmd.log job.log; do
        [ ! -s $log ] || { echo "  -- $log" >&2 && tail -n 25 $log >&2; }
    done
    exit 1
}

# until_true SECONDS COMMAND...
until_true()
{
    left=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.2
    done
}

host=$(uname -n)
port=$((20000 + $$ % 20000))
mkdir -p munge state spool
chmod 700 munge
dd if=/dev/urandom of=munge/key bs=128 count=1 2>/dev/null
chmod 400 munge/key
# The controller's cred_expire: a job that is requeued waits for its old credential to end (2 minutes by default; less than 5 s is refused).
cat >slurm.conf <<CONF
ClusterName=atrous
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$work/munge/socket,cred_expire=5
SlurmctldPort=$port
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
ReturnToService=2
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$(nproc) State=UNKNOWN
PartitionName=short Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --seed-file="$work/munge/seed" --log-file="$work/munge/log" --num-threads=2 >munge.out 2>&1 &
daemons=$!
until_true 10 test -S munge/socket || skip "munged does not start here: $(tail -n 2 munge.out)"
slurmctld -D -f slurm.conf >slurmctld.out 2>&1 &
daemons="$! $daemons"
slurmd -D -f slurm.conf >slurmd.out 2>&1 &
daemons="$! $daemons"
node_is_idle() { sinfo --noheader --format=%t | grep -qx idle; }
until_true 60 node_is_idle || fail "the node does not come up: $(sinfo 2>&1) $(tail -n 5 slurmd.out)"

"$ATROUS" sample shapes -n 40 --width 64 --height 48 >/dev/null || fail sample
"$ATROUS" pack shapes -o data.h5 --classes shapes/classes.txt >/dev/null || fail pack
ranks=2
[ "$(nproc)" -ge 2 ] || ranks=1
training="--size 48x64 --batch 4 --lr 7e-2 --seed 5 --eval-period 0 --no-curves --no-tensorboard --log-interval 50"

# How many epochs take about 80 s: Slurm signals a job of two minutes 45 s to 55 s after its start, of which a busy machine needs some to begin.
export ATROUS OMP_NUM_THREADS=1
cores()
{
    ATROUS_NODES=1 ATROUS_RANKS=$ranks ATROUS_CORES=1 "$ATR_SOURCE_DIR/cluster/mpirun.sh" "$ATROUS" train data.h5 $training "$@"
}
began=$(date +%s)
cores -o probe --epochs 40 >probe.log 2>&1 || fail "training without Slurm: $(cat probe.log)"
took=$(($(date +%s) - began))
[ "$took" -ge 1 ] || took=1
epochs=$((40 * 80 / took))
cores -o whole --epochs $epochs >whole.log 2>&1 || fail "training without Slurm: $(cat whole.log)"

job=$(sbatch --parsable --nodes=1 --ntasks-per-node=$ranks --cpus-per-task=1 --time=2 --signal=B:USR1@75 --output=job.log \
    "$ATR_SOURCE_DIR/cluster/train.sbatch" data.h5 -o run $training --epochs $epochs) || fail "sbatch"
job_state() { scontrol show job "$job" | sed -n 's/^ *JobState=\([A-Z]*\).*/\1/p'; }
job_ended() { case $(job_state) in COMPLETED | FAILED | TIMEOUT | CANCELLED | NODE_FAIL | OUT_OF_MEMORY | BOOT_FAIL | DEADLINE) ;; *) false ;; esac; }
until_true 1800 job_ended || fail "the job does not end: $(scontrol show job "$job")"
[ "$(job_state)" = COMPLETED ] || fail "the job ends as $(job_state)"

grep -q 'start number 1$' job.log && grep -q 'start number 2$' job.log || fail "the job was not started again"
grep -q 'R03: SIGUSR1: saved step' job.log || fail "it was not stopped by its time limit"
grep -q 'back in the queue' job.log || fail "it did not requeue itself"
grep -q 'resumed after step' job.log || fail "it did not go on from its checkpoint"
cmp -s whole/last.h5 run/last.h5 || fail "last.h5 is not that of a run without a stop"
echo "stopped $(grep -c 'back in the queue' job.log) times, $epochs epochs, the same last.h5 as without"
