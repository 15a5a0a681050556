# Losses and class weights of train.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 1 --max-steps 1 --eval-period 0"
expect 2 $train -o run --class-weights 1,2,3,4,x
says err "'x' is no number"
expect 2 $train -o run --class-weights 0,0,0,0,0
says err "nothing to learn"
expect 2 $train -o run --class-weights -1,1,1,1,1
expect 2 $train -o run --class-weights medan
says err "medan" "inverse, sqrt, median or enet"
expect 2 $train -o run --loss ce+dise
says err "did you mean 'dice'?" "lovasz"
expect 2 $train -o run --loss ce --focal-gamma 3
says err "--focal-gamma" "'focal'"
expect 2 $train -o run --loss focal --focal-gamma -1
expect 2 $train -o run --label-smoothing 1

# Losses: each runs, says what it is, and logs its f-score; numbers of a loss that is not used may stand in a recipe.
for loss in focal+0.5*dice ohem ce+lovasz; do
    expect 0 $train -o "l-$loss" --loss "$loss"
    says "l-$loss/log.jsonl" '"f_score":'
    says "l-$loss/config.yaml" "loss: \"$loss\""
done
says out "loss: ce + lovasz" "f-score"
expect 0 $train -o smooth --label-smoothing 0.1
says out "label smoothing 0.1"
expect 0 $train -o compat --loss focal+dice --compat reference --class-weights 1,2,1,2,1
says out "as the reference counts"

# Class weights by the pixels of train, printed by name; from a file, by name or in order.
for how in inverse sqrt median enet; do
    expect 0 $train -o "w-$how" --class-weights $how
    says out "class weights ($how):" "  background " "% of train pixels"
    says "w-$how/config.yaml" "$how"
done
printf '# of my own\nring: 5\nbackground 0.5\n\ntriangle = 4\nbox\t3 # third\ndisc 2\n' >weights.txt
expect 0 $train -o f1 --class-weights weights.txt
expect 0 $train -o f2 --class-weights 0.5,2,3,4,5
losses f1 >by-file
losses f2 >by-hand
cmp -s by-file by-hand || fail "weights from a file differ from the same by hand"
printf '0.5\n2\n3\n4\n5\n' >plain.txt
expect 0 $train -o f3 --class-weights plain.txt
losses f3 >by-file
cmp -s by-file by-hand || fail "weights in order differ from the same by hand"
printf 'ring 5\nsquare 2\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
says err "bad.txt" "no class is called 'square'"
printf 'ring 5\nring 2\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
says err "two weights"
printf '1\n2\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
says err "'box' has no weight"
printf '1\n2\n3\n4\n5\n6\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
says err "more weights than the 5 classes"
printf 'ring five\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
says err "no number"
printf 'ring nan\n' >bad.txt
expect 1 $train -o bad --class-weights bad.txt
expect 1 $train -o bad --class-weights .
printf 'loss: ce\nfocal-gamma: 3\nclass-weights: [1, 2, 3, 4, 5]\n' >recipe.yaml
expect 0 "$ATROUS" train data.h5 -o r4 --recipe recipe.yaml --size 48x64 --max-steps 1 --batch 4
