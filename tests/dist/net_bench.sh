# The table of docs/clusters.md: `atrous bench comm` over two hosts on this machine. By hand, as root:
#     ATROUS=build/release/apps/atrous sh tests/dist/net_bench.sh MBIT_PER_S RANKS_PER_HOST [OPTION...]
. "$(dirname "$0")/net_common.sh"
: "${ATROUS:?path of the program}"
mbit=$1
per_host=$2
shift 2

export OMP_WAIT_POLICY=passive
net_up 2 "$mbit"
net_run "$per_host" "$(realpath "$ATROUS")" bench comm "$@"
