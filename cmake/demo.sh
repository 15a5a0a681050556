#!/bin/sh
# demo.sh ATROUS OUT: the whole way on drawn pictures, from no data at all to a report page. Called by `./run demo`.
set -eu

atrous=$1
out=$2
recipe=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)/recipes/demo.yaml

# step WORDS -- COMMAND...: shows what is done as one could type it, then does it.
step()
{
    title=$1
    shift
    printf '\n== %s\n   $' "$title"
    for word in "$@"; do
        case $word in
        "$atrous") printf ' atrous' ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

# Half of the cores for each of the two ranks; more ranks than cores are allowed, for a machine that has only one.
ranks()
{
    threads=$(($(nproc) / 2))
    [ "$threads" -ge 1 ] || threads=1
    OMP_NUM_THREADS=$threads mpirun -n 2 --oversubscribe --bind-to none "$@"
}

mkdir -p "$out"
rm -rf "$out/shapes" "$out/shapes.h5" "$out/run" "$out/eval" "$out/predictions"

step 'draw a small data set' "$atrous" sample "$out/shapes"
step 'pack it into one checked file' \
    "$atrous" pack "$out/shapes" -o "$out/shapes.h5" --classes "$out/shapes/classes.txt"
step 'train on two ranks' ranks "$atrous" train "$out/shapes.h5" -o "$out/run" --recipe "$recipe" --force
step 'evaluate on pictures that were not trained on' \
    "$atrous" eval "$out/run/best.h5" "$out/shapes.h5" --split val -o "$out/eval"
step 'predict a folder of pictures' \
    "$atrous" predict "$out/run/best.h5" "$out/shapes/JPEGImages" -o "$out/predictions" --overlay
step 'write the report page' "$atrous" report "$out/run"

printf '\nThe report: %s\nThe predictions: %s\n' "$out/run/report.html" "$out/predictions"
