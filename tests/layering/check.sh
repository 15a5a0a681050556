#!/bin/sh
# check.sh ROOT: reads the #include lines of every C source below ROOT and prints each line that breaks a layering law of
# docs/design.md section 1. Ends with 0 when there is none. A test in tests/FOLDER has FOLDER's rights, and may use every layer.
set -eu
cd "$1"

find apps core dist dnn io tests -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) 2>/dev/null | sort |
    xargs -r -d '\n' awk '
function refuse(why)
{
    printf "%s:%d: %s\n    %s\n", FILENAME, FNR, why, $0
    faults++
}

# The folder whose rights a file has: its own, or for tests/io/x.c the mirrored one, io.
function rights(path)
{
    sub(/^tests\//, "", path)
    return path
}

function starts(text, prefix)
{
    return index(text, prefix) == 1
}

function check_own(header,    layer, target, folder)
{
    if (header !~ /\//) {
        refuse("write the path from the repository root, so that the line shows its layer")
        return
    }
    layer = FILENAME
    sub(/\/.*/, "", layer)
    target = header
    sub(/\/.*/, "", target)
    if (index(" " sees[layer] " ", " " target " ") == 0)
        refuse(layer " must not see " target)
    if (target == "tests" && layer != "tests")
        refuse("only tests see tests")
    if (header ~ /_impl\.h$/) {
        folder = header
        sub(/[^\/]*$/, "", folder)
        if (!starts(rights(FILENAME), folder))
            refuse("a header named _impl.h is seen only inside its folder " folder)
    }
    if (neutral() && header ~ /^dnn\/(ref|cpu|cuda)\//)
        refuse("this part serves all back ends and must not see one of them")
}

# What runs the same for every back end: the plan, the shared parts of losses and optimisers.
function neutral()
{
    return FILENAME ~ /^dnn\/(plan|loss|optim)[a-z_]*\.[ch]$/
}

function check_library(header,    file)
{
    file = rights(FILENAME)
    if (header ~ /^(mpi|mpi-ext)\.h$/ && !starts(file, "dist/"))
        refuse("mpi.h belongs to dist/")
    if (header ~ /^(hdf5.*|H5.*|png|jpeglib|jerror|turbojpeg|tiffio|zip)\.h$/ && !starts(file, "io/"))
        refuse("headers of file formats belong to io/")
    if (header ~ /(\.pb-c\.h$|^protobuf-c\/)/ && !starts(file, "io/"))
        refuse("protobuf belongs to io/")
    if (header ~ /^(oneapi\/dnnl\/|dnnl)/ && file != "dnn/cpu/onednn.c")
        refuse("only dnn/cpu/onednn.c knows oneDNN")
    if (header ~ /^(cuda|cudnn|cublas|nccl|nvrtc)/ && !starts(file, "dnn/cuda/"))
        refuse("CUDA belongs to dnn/cuda/")
}

BEGIN {
    sees["core"] = "core"
    sees["dnn"] = "dnn core"
    sees["io"] = "io core"
    sees["dist"] = "dist dnn core"
    sees["apps"] = sees["tests"] = "apps dist dnn io core tests"
}

/^[ \t]*#[ \t]*include/ {
    header = $0
    sub(/^[^<"]*[<"]/, "", header)
    sub(/[>"].*$/, "", header)
    if ($0 ~ /include[ \t]*"/)
        check_own(header)
    else if (header ~ /^(apps|core|dist|dnn|io|tests)\//)
        refuse("our own headers are included with quotes")
    check_library(header)
}

# Reading a tensor: an index to its data, or a typed pointer made from it. Placing one, `x.data = base + offset`, is allowed.
neutral() && !/^[ \t]*[A-Za-z_][^ ]*(->|\.)data = / &&
(/(float|double|uint16_t|int32_t|int64_t) *\*.*(->|\.)data([^A-Za-z0-9_]|$)/ || /(->|\.)data *\[/) {
    refuse("this part serves all back ends and must not read the bytes of a tensor")
}

END {
    exit faults > 0
}'
