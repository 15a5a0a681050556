# Sourced by the tests of train and eval: a small drawn data set and a few checks. POSIX shell.
set -u

: "${ATROUS:?path of the program}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/atrous-train.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder" || exit 1

fail() {
    echo "FAILED: $*" >&2
    [ ! -s err ] || sed 's/^/  err: /' err >&2
    [ ! -s out ] || tail -n 20 out | sed 's/^/  out: /' >&2
    exit 1
}

# expect CODE COMMAND...: runs it with its output in ./out and ./err.
expect() {
    wanted=$1
    shift
    "$@" >out 2>err
    code=$?
    [ "$code" -eq "$wanted" ] || fail "exit $code instead of $wanted: $*"
}

# says FILE TEXT...: each text stands in the file.
says() {
    file=$1
    shift
    for text in "$@"; do
        grep -qF -e "$text" "$file" || fail "$file does not say: $text"
    done
}

# The log without what depends on time.
losses() {
    grep '"kind":"step"' "$1/log.jsonl" | sed 's/,"images_per_s".*//'
}

# The same parameters, moments and cursor: checkpoints of equal runs are equal byte by byte.
same_run() {
    cmp -s "$1/last.h5" "$2/last.h5" || fail "$1/last.h5 and $2/last.h5 differ"
    losses "$1" >losses.1
    losses "$2" >losses.2
    cmp -s losses.1 losses.2 || fail "losses of $1 and $2 differ"
}

# 77 (skipped) where the program was built without MPI or there is no mpirun.
need_mpi() {
    if ! command -v mpirun >/dev/null || ! ldd "$ATROUS" | grep -q libmpi; then
        echo "skipped: no MPI"
        exit 77
    fi
}

ranks() {
    count=$1
    shift
    OMP_NUM_THREADS=1 mpirun -n "$count" "$@"
}

expect 0 "$ATROUS" sample shapes -n 20 --width 64 --height 48
expect 0 "$ATROUS" pack shapes -o data.h5 --classes shapes/classes.txt

# 16 pictures for training, 4 for validation: 4 steps per epoch.
small="--size 48x64 --batch 4 --log-interval 1 --eval-period 1 --lr 7e-2 --seed 5 --no-curves"
