# --memory-limit: what does not fit is refused before it is taken, with what would fit, and that does.
. "$(dirname "$0")/train_common.sh"

# mib NAME: a number of the JSON in ./out, rounded up.
mib() {
    sed -n "s/.*\"$1\": \\([0-9]*\\).*/\\1/p" out
}

# A limit is a size.
for size in 0 -5 12Q x 5GG ""; do
    expect 2 "$ATROUS" bench --size 64 -n 1 --memory-limit "$size"
    says err "--memory-limit"
done
for size in 4G 4GiB 4096m 4294967296 4.0e0G auto; do
    expect 0 "$ATROUS" bench --size 64 -n 1 --warmup 0 --memory-limit $size
done

# What is planned is about what is taken in the end.
bench="$ATROUS bench train --size 256 --batch 4 -n 1 --warmup 0 --json"
expect 0 $bench
planned=$(mib planned_mib)
peak=$(mib peak_rss_mib)
[ "$((10 * peak))" -lt "$((13 * planned))" ] && [ "$((10 * planned))" -lt "$((13 * peak))" ] ||
    fail "planned $planned MiB, took $peak"

# Below it: refused, and each of the ways that are offered goes. A sanitizer's own memory counts as the program's, and no way saves that.
least=$((planned * 3 / 4))
[ -z "${ATR_SANITIZE:-}" ] || least=$((planned * 9 / 10))
limit=${least}M
expect 1 $bench --memory-limit $limit
says err "I02: training of 4 pictures of 256x256 needs" "limit $least MiB" "What would fit: --recompute (" \
    ", --batch " ", --size "
batch=$(sed -n 's/.*--batch \([0-9]*\) (.*/\1/p' err)
size=$(sed -n 's/.*--size \([0-9x]*\) (.*/\1/p' err)
for way in "--recompute" "--batch $batch" "--size $size"; do
    expect 0 $bench --memory-limit $limit $way
    [ "$(mib planned_mib)" -le "$least" ] || fail "$way: $(mib planned_mib) MiB"
done
expect 1 $bench --memory-limit 20M
says err "I02:" "Nothing smaller was found to fit"

# Prediction says what its size takes, in each way to fit pictures.
expect 0 "$ATROUS" train data.h5 $small --max-steps 1 --eval-period 0 -o run
picture=$(ls shapes/JPEGImages/* | head -n 1)
predict="$ATROUS predict run/last.h5 $picture -o labels"
expect 1 $predict --size 1024 --memory-limit 200M
says err "I02: 1024x1024, 1 picture in a pass, needs" "(limit 200 MiB): refused. What would fit: --size "
expect 0 $predict --size 64 --memory-limit 200M

# Training refuses before its first step; so does eval.
expect 1 "$ATROUS" train data.h5 $small --size 512 --batch 16 --memory-limit 900M -o no
says err "I02: training on 16 pictures of 512x512 in a pass needs" "--batch "
expect 1 "$ATROUS" eval run/last.h5 data.h5 --size 1024 --memory-limit 200M
says err "I02: 1024x1024"

# info tells it without taking it.
expect 0 "$ATROUS" info run/last.h5 --layers --memory --batch 2
says out "memory in MiB, batch 2 of 48x64" "prediction" "training --recompute"
expect 2 "$ATROUS" info run/last.h5 --memory
