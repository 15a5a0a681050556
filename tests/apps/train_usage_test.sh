# Exit codes and messages of train.
. "$(dirname "$0")/train_common.sh"

train="$ATROUS train data.h5 $small --epochs 1 --max-steps 1"
expect 0 "$ATROUS" train --help
says out "--augment-flip" "--recipe" "Usage: atrous train DATA.h5... -o RUN"
expect 2 "$ATROUS" train
expect 2 "$ATROUS" train data.h5
says err "-o RUN"
expect 1 "$ATROUS" train data.h5 none.h5 -o run
says err "none.h5"
expect 1 "$ATROUS" train none.h5 -o run
says err "none.h5"
expect 2 $train -o run --size 48y64
says err "48y64"
expect 2 $train -o run --backbone resnet
says err "mobilenetv2"
expect 2 $train -o run --class-weights 1,2
says err "2 numbers for 5 classes"
expect 2 $train -o run --augment-flip 2
says err "flip"
expect 2 $train -o run --resume --force
expect 1 $train -o run --backend nonsense
says err "have:"

# An existing run is not touched unless asked.
rm -rf run
expect 0 $train -o run
expect 2 $train -o run
says err "--resume" "--force"

# The folders above RUN need not be there.
expect 0 $train -o runs/today/first
expect 0 "$ATROUS" eval runs/today/first/last.h5 data.h5 -o scores/today/first --no-plots
[ -s scores/today/first/metrics.json ] || fail "no scores in a folder below a new one"
expect 1 $train -o run --force --weights none.h5
expect 1 $train -o run --force --batch 17 --compat reference
says err "is too small"
[ -f run/best.h5 ] && [ -f run/log.jsonl ] || fail "--force took the old run away before the new one could begin"
echo old >run/report.html
expect 0 $train -o run --force --weights run/best.h5
[ ! -f run/report.html ] || fail "--force left the old run's report"
expect 2 $train -o run --resume --batch 8
says err "batch 4"
expect 2 $train -o run --resume --output-stride 8
says err "M01"

# Never more threads than CPUs.
expect 0 $train -o many --threads 999
says err "R02: 1 rank x 999 threads"

# The data must be those of the run.
expect 0 "$ATROUS" sample other -n 20 --width 64 --height 48 --seed 9
expect 0 "$ATROUS" pack other -o other.h5 --classes other/classes.txt
expect 2 "$ATROUS" train other.h5 -o run --resume
says err "other data"

# Recipes: the command line wins, unknown names are refused, and config.yaml is a recipe again.
printf 'batch: 2\nlr: 1e-3\naugment:\n  flip: 0\n' >recipe.yaml
expect 0 "$ATROUS" train data.h5 -o r1 --recipe recipe.yaml --size 48x64 --max-steps 1 --batch 4
says r1/config.yaml "batch: 4" "lr: 0.001"
expect 0 "$ATROUS" train data.h5 -o r2 --recipe r1/config.yaml
cmp -s r1/last.h5 r2/last.h5 || fail "config.yaml does not repeat the run"
printf 'bacth: 2\n' >recipe.yaml
expect 2 "$ATROUS" train data.h5 -o r3 --recipe recipe.yaml
says err "recipe.yaml:1" "batch"

# Starting from weights: all of them, all but the head, or the backbone alone.
expect 0 $train -o w1 --weights run/best.h5
says out "run/best.h5: 371 tensors loaded"
expect 2 $train -o w2 --new-head
says err "--weights FILE"
printf 'background\nshape\n' >two.txt
expect 0 "$ATROUS" pack shapes -o two.h5 --classes two.txt --map 2=1,3=1,4=1
two="$ATROUS train two.h5 --size 48x64 --max-steps 1 --weights"
expect 2 $two run/best.h5 -o w2
says err "M01" "5 -> 2" "2 tensors" "369 be loaded" "--new-head"
expect 2 $two run/best.h5 -o w2 --new-head --backbone xception
says err "M01" "mobilenetv2, 5 classes" "Asked: xception, 2 classes" "Backbone differs: refused."
expect 0 $two run/best.h5 -o w2 --new-head
says out "369 tensors loaded, 2 start fresh (first: cls_conv.weight), 2 of the file not used"
expect 0 $two run/best.h5 -o w3 --backbone-only
says out "306 tensors loaded, 65 start fresh (first: aspp"
expect 0 "$ATROUS" export run/best.h5 -o best.safetensors
expect 0 $two best.safetensors -o w4 --new-head
says out "369 tensors loaded"
losses w2 >losses.2
losses w4 >losses.4
cmp -s losses.2 losses.4 || fail "weights of .h5 and .safetensors start different runs"
