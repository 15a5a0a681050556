# The disk is full when a checkpoint is written, behind the training: the run ends with the system's reason, the checkpoint before
# stands, and with room it goes on to the same end. A small tmpfs; where none may be mounted (no root), a limit on the size of files
# plays the disk.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 2 --eval-period 0 --save-steps 2"
expect 0 $train -o straight
bytes=$(stat -c %s straight/last.h5)

mkdir disk
if mount -t tmpfs -o size=$((bytes * 5 / 2)) tmpfs disk 2>/dev/null; then
    trap 'cd /; umount "$folder/disk"; rm -rf "$folder"' EXIT
    expect 1 $train -o disk/run
    says err "disk/run/last.h5.partial: " "No space left on device"
    saved=4 # two files of the run fit, not three
    mount -o remount,size=$((bytes * 4)) disk
else
    echo "no tmpfs here: a limit on the size of files instead"
    expect 75 $train -o disk/run --stop-after 2
    (trap '' XFSZ && ulimit -f $((bytes / 1024)) && exec $train -o disk/run --resume) >out 2>err
    [ $? -eq 1 ] || fail "full disk: exit is not 1"
    says err "disk/run/last.h5.partial: " "File too large"
    saved=2
fi
[ ! -f disk/run/last.h5.partial ] || fail "half a checkpoint takes up room"
expect 0 $train -o disk/run --resume
says out "resumed after step $saved"
same_run straight disk/run
