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

# Distinct pairs of core and socket; distinct NUMA domains. Both count what this process may use.
count_cores() { lscpu --parse=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l; }
count_domains() { lscpu --parse=NODE 2>/dev/null | grep -v '^#' | sort -u | wc -l; }

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
