# --stage on two hosts that name one folder (a shared file system): one copy, by the host that comes first, and no host or job waits
# for ever while two jobs on the same hosts start at once.
. "$(dirname "$0")/../apps/train_common.sh"
need_mpi
. "$(dirname "$0")/net_common.sh"

train="$small --epochs 1 --max-steps 1 --eval-period 0 --no-tensorboard"
mkdir disk
net_up 2 1000
expect 0 net_run 2 "$ATROUS" train data.h5 $train -o hosts --stage disk
says out "/data.h5 on each of 2 nodes: " " copied by 4 ranks in " " MB were there"
[ "$(find disk -name '*.h5' | wc -l)" -eq 1 ] || fail "not one copy"
cmp -s data.h5 "$(find disk -name '*.h5')" || fail "the copy differs"

# Two jobs over both hosts.
expect 0 "$ATROUS" pack shapes -o part.h5 --classes shapes/classes.txt --shards 3
for job in 1 2; do
    net_run 1 "$ATROUS" train 'part-*.h5' $train -o job$job --stage disk >out$job 2>err$job &
    eval "pid$job=$!"
done
wait "$pid1" || fail "the first of two jobs: $(cat err1)"
wait "$pid2" || fail "the second of two jobs: $(cat err2)"
same_run job1 job2

# No room ends both.
mkdir small
if mount -t tmpfs -o size=20k none small 2>/dev/null; then
    expect 1 net_run 1 "$ATROUS" train data.h5 $train -o full --stage small
    umount small
    says err "P04: no room to stage in small"
fi
