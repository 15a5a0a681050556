# Ranks in network namespaces count as separate hosts and train together; several ranks a host, and more than two hosts.
. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"

net_up 2 1000
expect 0 net_run 1 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 2 -o hosts
says out "2 ranks" "  0  node1  " "  1  node2  "
expect 0 net_run 2 uname -n
[ "$(sort out | uniq -c | tr -s ' \n' ' ')" = " 2 node1 2 node2 " ] || fail "not two ranks on each host"

# Two ranks on each: gradients summed on the node first are the same each time, and the same as flat ones but for the order of sums.
two="$ATROUS train data.h5 $small --epochs 1 --max-steps 3 --batch 8"
for way in flat hierarchical; do
    expect 0 net_run 2 $two --allreduce $way -o $way
    says out "gradients: $way over 2 nodes"
done
expect 0 net_run 2 $two --allreduce hierarchical -o again
same_run hierarchical again
losses flat >losses.flat
losses hierarchical >losses.hierarchical
paste losses.flat losses.hierarchical | sed 's/[^\t]*"loss":\([0-9.e+-]*\)[^\t]*/\1/g' |
    awk '{ d = $1 - $2; if (d < 0) d = -d; if (!($1 > 0) || d > 1e-3 * $1) exit 1; n++ } END { exit n < 2 }' ||
    fail "losses of flat and hierarchical sums: $(cat losses.flat losses.hierarchical)"

net_up 3 100
expect 0 net_run 1 "$ATROUS" train data.h5 $small --epochs 1 --max-steps 2 --batch 6 -o three
says out "3 ranks" "  2  node3  "
[ "$(ip netns list | grep -c "^$net_name-")" -eq 4 ] || fail "the first net is still there"
