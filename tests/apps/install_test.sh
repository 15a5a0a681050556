#!/bin/sh
# What `cmake --install` gives is whole and may be moved: the program runs there, and the manual's C example, built with
# nothing but pkg-config, labels a picture with a network that the installed program made.
set -eu

[ -e "$ATR_BUILD_DIR/apps/libatrous.so" ] || { echo 'skipped: this build has no libatrous'; exit 77; }
[ -z "$ATR_SANITIZE" ] || { echo 'skipped: a plain example cannot be linked with a sanitized library'; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/moved

fail()
{
    printf '%s\n' "$*"
    exit 1
}

cmake --install "$ATR_BUILD_DIR" --prefix "$work/first" >"$work/install.log" || fail "$(cat "$work/install.log")"
mv "$work/first" "$prefix"

# Every library is found, and none in the build folder.
for file in "$prefix/bin/atrous" "$prefix/lib/libatrous.so"; do
    libraries=$(ldd "$file")
    case $libraries in
    *"not found"* | *"$ATR_BUILD_DIR"* | *build/deps*) fail "$file: $libraries" ;;
    esac
done
case $(ldd "$prefix/lib/libatrous.so") in *libmpi*) fail 'libatrous needs MPI' ;; esac

# Only what the header declares can be seen from outside.
hidden=$(nm -D --defined-only "$prefix/lib/libatrous.so" | awk '$2 ~ /[TDBR]/ && $3 !~ /^atrous_|^_/ { print $3 }')
[ -z "$hidden" ] || fail "libatrous shows more than its header: $hidden"

cd "$work"
quietly()
{
    "$@" >output.log 2>&1 || fail "$* failed: $(cat output.log)"
}

quietly "$prefix/bin/atrous" sample shapes --count 4 --val 0.5 --width 64 --height 48
quietly "$prefix/bin/atrous" pack shapes -o shapes.h5 --classes shapes/classes.txt
quietly "$prefix/bin/atrous" train shapes.h5 -o run --size 64 --batch 2 --max-steps 1 --eval-period 0

PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export PKG_CONFIG_PATH
cc -Wall -Wextra -Werror "$ATR_SOURCE_DIR/docs/examples/predict.c" $(pkg-config --cflags --libs atrous) -o predict
{
    printf 'P6 64 48 255\n'
    head -c $((64 * 48 * 3)) /dev/zero
} >black.ppm
./predict run/last.h5 black.ppm >shares.txt
grep -q background shares.txt || fail "the example printed no share of the background: $(cat shares.txt)"

# The header serves C++ too.
echo '#include <atrous/atrous.h>' >header.cc
c++ -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags atrous) header.cc
