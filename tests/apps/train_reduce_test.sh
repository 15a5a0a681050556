# Training over ranks gives the same numbers however gradients are summed in f32, and the same ones again in bf16.
. "$(dirname "$0")/train_common.sh"
need_mpi

train="$ATROUS train data.h5 $small --epochs 1"
expect 0 ranks 2 $train -o plain --bucket-mb 0 --allreduce flat
says out "gradients: flat over 1 node, f32, no overlap, polled" "; time: compute " " %, communication "
expect 0 ranks 2 $train -o again
says out "gradients: hierarchical over 1 node, f32, buckets of 4 MB, polled"
expect 0 ranks 2 $train -o thread --bucket-mb 0.5 --allreduce flat --progress thread
says out "buckets of 0.5 MB, moved by a thread"
for run in plain again thread; do
    losses $run >losses.$run
    cmp -s losses.plain losses.$run || fail "losses of plain and $run differ"
done
[ "$(grep -c '"compute_s":[0-9.]*,"exposed_s":[0-9.]*,"update_s":' plain/log.jsonl)" -eq 4 ] || fail "phases are not logged"

expect 0 ranks 2 $train -o half --wire bf16 --allreduce flat
says out "gradients: flat over 1 node, bf16"
expect 0 ranks 2 $train -o half2 --wire bf16 --allreduce flat
same_run half half2
losses half >losses.half
! cmp -s losses.plain losses.half || fail "bf16 changes nothing: it is not used"

# What rounding took is in checkpoints: a run that was stopped goes on with the same bits, on another number of ranks too without harm.
expect 75 ranks 2 $train -o stopped --wire bf16 --allreduce flat --stop-after 2
cp -r stopped moved
expect 0 ranks 2 $train -o stopped --wire bf16 --allreduce flat --resume
same_run half stopped
expect 0 ranks 3 $train -o moved --wire bf16 --allreduce flat --resume
says out "R03: saved on 2 ranks, now 3"
expect 75 ranks 2 $train -o stopped --force --wire bf16 --allreduce flat --stop-after 2
expect 0 ranks 2 $train -o stopped --wire f32 --allreduce flat --resume
says out "what bf16 on the wire left out of the last step is given up"

# A container's small shared memory: gradients of two ranks do not fit.
small_shm() {
    unshare -m sh -c 'mount -t tmpfs -o size=40m tmpfs /dev/shm && exec "$@"' sh "$@"
}
if small_shm true 2>/dev/null; then
    OMP_NUM_THREADS=1 expect 0 small_shm mpirun -n 2 $train -o narrow --max-steps 1
    says out "gradients: flat over 1 node"
    OMP_NUM_THREADS=1 expect 1 small_shm mpirun -n 2 $train -o refused --allreduce hierarchical
    says err "--allreduce hierarchical: /dev/shm has no room for the gradients of a node's 2 ranks"
fi

expect 2 ranks 2 $train -o wrong --wire f16
says err "f32, bf16"
