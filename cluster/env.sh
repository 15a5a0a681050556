# shellcheck shell=bash
# Sourced by the job scripts here: threads and their places, and a way to run a program that hands signals on. Settings that are
# there already win.

# Cores for each rank: what the batch system gave it, else what the user says.
cores=${ATROUS_CORES:-${SLURM_CPUS_PER_TASK:-${PBS_NUM_PPN:-${NCPUS:-}}}}
[ -z "$cores" ] || export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$cores}"

# Each thread stays on one core of those its rank is bound to. Only for ranks that are bound: without --bind-to (or srun's --cpu-bind)
# the threads of all ranks would sit on the same first cores.
export OMP_PLACES="${OMP_PLACES:-cores}"
export OMP_PROC_BIND="${OMP_PROC_BIND:-close}"

# Threads that wait give their core to the loader instead of spinning.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# Open MPI takes the first interface that answers, which may be a bridge of containers or a slow one for management:
# ATROUS_INTERFACE=ib0 (or 10.1.0.0/16) names the one to use for its TCP.
if [ -n "${ATROUS_INTERFACE:-}" ]; then
    export OMPI_MCA_btl_tcp_if_include="$ATROUS_INTERFACE" OMPI_MCA_oob_tcp_if_include="$ATROUS_INTERFACE"
fi

# ATROUS_STAGE=DIR: the data set is copied to this folder of each node first (`atrous train --stage`). "job": the job's own folder there.
atrous_stage=()
# shellcheck disable=SC2034
case ${ATROUS_STAGE:-} in
'') ;;
job)
    if [ -n "${SLURM_TMPDIR:-${TMPDIR:-}}" ]; then
        atrous_stage=(--stage "${SLURM_TMPDIR:-$TMPDIR}")
    else
        echo 'atrous: ATROUS_STAGE=job, but this job has neither SLURM_TMPDIR nor TMPDIR: nothing is staged' >&2
    fi
    ;;
*) atrous_stage=(--stage "$ATROUS_STAGE") ;;
esac

# mpirun takes 8 minutes to believe that a node is gone without a word (power, cable): a minute will do.
export OMPI_MCA_oob_tcp_keepalive_time="${OMPI_MCA_oob_tcp_keepalive_time:-30}"
export OMPI_MCA_oob_tcp_keepalive_intvl="${OMPI_MCA_oob_tcp_keepalive_intvl:-10}"
export OMPI_MCA_oob_tcp_keepalive_probes="${OMPI_MCA_oob_tcp_keepalive_probes:-3}"

# Set to the name of the last signal that atrous_run handed on.
atrous_signal=

# atrous_run COMMAND...: runs it, and turns SIGUSR1 (the batch system's "your time is nearly over") and SIGTERM into the SIGUSR1 that
# mpirun hands to every rank: they save one checkpoint and end with code 75. Gives the command's code. A signal that comes before mpirun or
# the ranks can take it ends them; nothing is lost then either, and the code is 75, too.
atrous_run()
{
    local child='' code
    trap 'atrous_signal=USR1; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1
    trap 'atrous_signal=TERM; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' TERM
    "$@" &
    child=$!
    # One that came before the child was there.
    [ -z "$atrous_signal" ] || kill -USR1 "$child" 2>/dev/null
    while :; do
        wait "$child"
        code=$?
        # A trap interrupts wait; the command's own code comes with the next one.
        { [ "$code" -gt 128 ] && kill -0 "$child" 2>/dev/null; } || break
    done
    if [ "$code" -gt 128 ] && [ -n "$atrous_signal" ]; then
        wait "$child"
        code=$?
    fi
    trap - USR1 TERM
    [ -z "$atrous_signal" ] || [ "$code" -ne $((128 + $(kill -l USR1))) ] || code=75
    return "$code"
}
