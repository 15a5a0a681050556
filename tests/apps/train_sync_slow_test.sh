# Batch norms over ranks beside what else a step can be: in parts, frozen in part, of one picture, in groups.
. "$(dirname "$0")/train_sync_common.sh"
need_mpi

# In parts, a batch norm sees each part: of the same pictures on any number of ranks.
parts="$ATROUS train data.h5 $common --epochs 1 --sync-bn --accumulate 2 --eval-period 0"
expect 0 $parts -o parts1
expect 0 ranks 3 $parts -o parts3
same_training parts1 parts3

# A frozen backbone whose norms go on with the batch's statistics, then all of it.
frozen="$ATROUS train data.h5 $common --epochs 2 --sync-bn --freeze-epochs 1 --freeze-batch 8 --frozen-norm batch --eval-period 0"
expect 0 $frozen -o frozen1
expect 0 ranks 2 $frozen -o frozen2
same_training frozen1 frozen2

# 16 pictures in batches of 5: one picture is left, and two of three ranks have none. Norms of one value per channel use their
# running statistics, over ranks as on one.
single="$ATROUS train data.h5 $common --epochs 2 --batch 5 --eval-period 0"
expect 0 $single --sync-bn -o single1
says err "T03: "
expect 0 ranks 3 $single --sync-bn -o single3
says err "T03: "
same_training single1 single3
expect 0 ranks 3 $single -o apart
expect 0 ranks 3 $single -o apart2
same_run apart apart2
expect 0 ranks 3 $single --bn-group 2 -o pairs
samples apart | cmp -s - samples.1 || fail "samples depend on how batch norms are shared"
samples pairs | cmp -s - samples.1 || fail "samples depend on groups of batch norms"
