#!/bin/sh
# Brings what the build needs: Debian packages, and oneDNN v3 from the system or from two pinned wheels.
# Does only what is missing, so that it may be called before every build. docs/dependencies.md says why each is needed.
# ATR_EXTRA_PACKAGES: further packages to bring.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
deps=$root/build/deps
log=$root/build/setup.log

packages="build-essential cmake ninja-build pkg-config
    libopenmpi-dev openmpi-bin libhdf5-dev libpng-dev libjpeg-dev libzip-dev zlib1g-dev
    libyaml-dev libjansson-dev libxxhash-dev
    libprotobuf-c-dev protobuf-c-compiler libcmocka-dev gnuplot-nox"

wheel_runtime=onednn_cpu_gomp-2023.2.0-py2.py3-none-manylinux1_x86_64.whl
wheel_headers=onednn_devel_cpu_gomp-2023.2.0-py2.py3-none-manylinux1_x86_64.whl
wheel_names="onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0"
wheel_sums="2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb  $wheel_runtime
9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284  $wheel_headers"

say()
{
    printf 'setup: %s\n' "$*"
}

fail()
{
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in the log; on failure shows the end of it.
quietly()
{
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 && return 0
    tail -n 20 "$log" >&2
    fail "this failed: $* (all of its output: $log)"
}

# as_root COMMAND...: apt-get needs root; `packages_missing` names what the user must install otherwise.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        quietly env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null 2>&1; then
        quietly sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "not root and no sudo; let root run: apt-get install --no-install-recommends" $packages_missing
    fi
}

# install_packages NAME...: those that dpkg does not list as installed.
install_packages()
{
    packages_missing=
    for package in "$@"; do
        case $(dpkg-query -W -f ' ${db:Status-Status} ' "$package" 2>/dev/null) in
        *" installed "*) ;;
        *) packages_missing="$packages_missing $package" ;;
        esac
    done
    [ -n "$packages_missing" ] || return 0
    say "installing Debian packages:$packages_missing"
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update
    as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages_missing
}

# Other systems name these packages differently: there we only look for the tools and let CMake name a missing library.
check_tools()
{
    say "no dpkg here: please install what docs/dependencies.md lists with your own package manager"
    for tool in cc cmake ninja pkg-config mpicc; do
        command -v "$tool" >/dev/null 2>&1 || fail "$tool was not found"
    done
}

# True when CMake finds oneDNN v3 without our own prefix.
system_has_onednn()
{
    probe=$(mktemp -d)
    cat >"$probe/CMakeLists.txt" <<'PROBE'
cmake_minimum_required(VERSION 3.25)
project(probe LANGUAGES C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(dnnl 3 CONFIG REQUIRED)
PROBE
    if cmake -S "$probe" -B "$probe/build" -G Ninja >>"$log" 2>&1; then found=0; else found=1; fi
    rm -rf "$probe"
    return $found
}

download_wheels()
{
    [ "$(uname -m)" = x86_64 ] ||
        fail "the pinned oneDNN wheels are for x86_64 only: build oneDNN v3 and set CMAKE_PREFIX_PATH to its prefix"
    if command -v dpkg-query >/dev/null 2>&1; then
        command -v unzip >/dev/null 2>&1 || install_packages unzip
        python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
    fi
    say "downloading oneDNN (38 MB): $wheel_names"
    quietly python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: -d "$1" $wheel_names
    (cd "$1" && printf '%s\n' "$wheel_sums" | sha256sum -c - >>"$log" 2>&1) ||
        fail "the downloaded oneDNN wheels do not have the pinned sha256 sums; nothing was installed (see $log)"
}

# Merges the data folders of both wheels into the prefix $deps/onednn, which appears only when it is complete.
install_wheels()
{
    work=$deps/onednn.$$
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/prefix"
    download_wheels "$work"
    for wheel in "$wheel_runtime" "$wheel_headers"; do
        quietly unzip -q -o "$work/$wheel" -d "$work/unpacked"
    done
    for data in "$work"/unpacked/*.data/data; do
        cp -R "$data/." "$work/prefix"
    done
    # A wheel cannot hold links: it has three whole copies of the library where one and two links are meant.
    ln -sf libdnnl.so.3.2 "$work/prefix/lib/libdnnl.so.3"
    ln -sf libdnnl.so.3 "$work/prefix/lib/libdnnl.so"
    rm -rf "$deps/onednn"
    mv "$work/prefix" "$deps/onednn"
    say "oneDNN 3.2 is in build/deps/onednn"
}

mkdir -p "$deps"

if command -v dpkg-query >/dev/null 2>&1; then
    install_packages $packages ${ATR_EXTRA_PACKAGES-}
else
    check_tools
fi

# The stamp remembers that the system's own oneDNN was found, for probing takes a second.
if [ ! -e "$deps/onednn/lib/cmake/dnnl/dnnl-config.cmake" ] && [ ! -e "$deps/onednn-of-system" ]; then
    if system_has_onednn; then
        say "using the oneDNN v3 of this system"
        : >"$deps/onednn-of-system"
    else
        install_wheels
    fi
fi
