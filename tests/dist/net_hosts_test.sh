# Ranks in network namespaces count as separate hosts and train together; several ranks a host, and more than two hosts.
. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"

net_up 2 1000
expect 0 net_run 1 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 2 -o hosts
says out "2 ranks" "  0  node1  " "  1  node2  "
expect 0 net_run 2 uname -n
[ "$(sort out | uniq -c | tr -s ' \n' ' ')" = " 2 node1 2 node2 " ] || fail "not two ranks on each host"

net_up 3 100
expect 0 net_run 1 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 2 --batch 6 -o three
says out "3 ranks" "  2  node3  "
[ "$(ip netns list | grep -c "^$net_name-")" -eq 4 ] || fail "the first net is still there"
