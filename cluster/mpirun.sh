#!/usr/bin/env bash
# Starts a program on all ranks with each rank bound to its own cores:
#     mpirun.sh atrous train DATA.h5 -o RUN
# From the environment, each with a default from the batch system or the machine:
#     ATROUS_NODES    nodes                                   Slurm, PBS; else 1, or the lines of ATROUS_HOSTFILE
#     ATROUS_RANKS    ranks for each node                     Slurm; else one for each NUMA domain
#     ATROUS_CORES    cores for each rank                     Slurm; else the node's cores / ranks
#     ATROUS_HOSTFILE file of node names, one a line          PBS_NODEFILE
#     ATROUS_MPIRUN   further options of mpirun
# ATROUS_DRY=1 prints the command instead.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# Distinct pairs of core and socket, or distinct NUMA domains, of the CPUs that this process may use (lscpu lists those of others, too).
count()
{
    lscpu --parse="CPU,$1" 2>/dev/null | awk -F, -v list="$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)" '
        BEGIN {
            pieces = split(list, piece, ",")
            for (i = 1; i <= pieces; i++) {
                ends = split(piece[i], end, "-")
                for (cpu = end[1] + 0; cpu <= end[ends] + 0; cpu++) allowed[cpu] = 1
            }
        }
        !/^#/ && ($1 in allowed) && !seen[$2 "," $3]++ { total++ }
        END { print total + 0 }'
}
count_cores() { count CORE,SOCKET; }
count_domains() { count NODE; }

hostfile=${ATROUS_HOSTFILE:-${PBS_NODEFILE:-}}
nodes=${ATROUS_NODES:-${SLURM_JOB_NUM_NODES:-}}
if [ -z "$nodes" ]; then
    nodes=1
    [ -z "$hostfile" ] || nodes=$(sort -u "$hostfile" | grep -c .)
fi
ranks=${ATROUS_RANKS:-${SLURM_NTASKS_PER_NODE:-$(count_domains)}}
[ "$ranks" -ge 1 ] || ranks=1
cores=${ATROUS_CORES:-${SLURM_CPUS_PER_TASK:-}}
if [ -z "$cores" ]; then
    cores=$(($(count_cores) / ranks))
    [ "$cores" -ge 1 ] || cores=1
fi
# Slurm counts hardware threads where a core has two, mpirun binds to cores: not more of them than there are.
if [ -z "${ATROUS_CORES:-}" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    most=$(($(count_cores) / ranks))
    if [ "$most" -ge 1 ] && [ "$cores" -gt "$most" ]; then
        # What env.sh made of Slurm's number for the job script.
        [ "${OMP_NUM_THREADS:-}" != "$cores" ] || OMP_NUM_THREADS=$most
        cores=$most
    fi
fi
export ATROUS_CORES=$cores
# shellcheck source=cluster/env.sh
. "$here/env.sh"

command=(mpirun -n $((nodes * ranks)) --map-by "ppr:$ranks:node:PE=$cores" --bind-to core)
[ -z "$hostfile" ] || [ -n "${SLURM_JOB_ID:-}" ] || command+=(--hostfile "$hostfile")
for name in OMP_NUM_THREADS OMP_PLACES OMP_PROC_BIND OMP_WAIT_POLICY; do
    command+=(-x "$name")
done
# Options are words: to be split.
# shellcheck disable=SC2206
command+=(${ATROUS_MPIRUN:-})
command+=("$@")

if [ -n "${ATROUS_DRY:-}" ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
atrous_run "${command[@]}"
