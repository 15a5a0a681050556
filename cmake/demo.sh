#!/bin/sh
# The whole way on drawn pictures, from no data at all to a report page. Called by `./run demo`, which has built the program.
set -eu
cd "$(dirname -- "$0")/.."

atrous=build/release/apps/atrous
out=out/demo

# step TITLE COMMAND...: shows what is done as one could type it, then does it.
step()
{
    printf '\n== %s\n   $ %s\n' "$1" "$(shift && echo "$@" | sed "s|$atrous|atrous|; s|^on_two_ranks|mpirun -n 2|")"
    shift
    "$@"
}

# Half of the cores for each of the two ranks; more ranks than cores are allowed, for a machine that has only one.
on_two_ranks()
{
    threads=$(($(nproc) / 2))
    [ "$threads" -ge 1 ] || threads=1
    OMP_NUM_THREADS=$threads mpirun -n 2 --oversubscribe --bind-to none "$@"
}

mkdir -p $out
rm -rf $out/shapes $out/shapes.h5 $out/run $out/eval $out/predictions

step 'draw a small data set' $atrous sample $out/shapes --count 480 --width 96 --height 96
step 'pack it into one checked file' $atrous pack $out/shapes -o $out/shapes.h5 --classes $out/shapes/classes.txt
step 'train on two ranks' on_two_ranks $atrous train $out/shapes.h5 -o $out/run --recipe recipes/demo.yaml --force
step 'evaluate on the pictures that were held out' \
    $atrous eval $out/run/best.h5 $out/shapes.h5 --split val -o $out/eval
held_out=$(head -n 8 $out/shapes/ImageSets/Segmentation/val.txt | sed "s|^|$out/shapes/JPEGImages/|; s|\$|.jpg|")
step 'predict eight of them' $atrous predict $out/run/best.h5 $held_out -o $out/predictions --overlay
step 'write the report page' $atrous report $out/run

printf '\nThe report page: %s\nThe predictions: %s\n' "$PWD/$out/run/report.html" "$PWD/$out/predictions"
