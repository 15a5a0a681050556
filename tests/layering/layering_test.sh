#!/bin/sh
# The sources keep the layering laws; and each law, broken in a made-up tree, is reported.
set -u

check="$ATR_SOURCE_DIR/tests/layering/check.sh"
failed=0

sh "$check" "$ATR_SOURCE_DIR" || failed=1

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# A made-up tree with one file of one line: its verdict must be as expected.
expect()
{
    rm -rf "${tree:?}"/*
    mkdir -p "$tree/$(dirname "$2")"
    printf '%s\n' "$3" >"$tree/$2"
    if sh "$check" "$tree" >/dev/null; then verdict=allowed; else verdict=refused; fi
    if [ "$verdict" != "$1" ]; then
        printf '%s: the line %s was %s\n' "$2" "$3" "$verdict"
        failed=1
    fi
}

expect allowed core/a.c '#include "core/mem.h"'
expect allowed io/a.c '#include <hdf5.h>'
expect allowed io/a.c '#include <events.pb-c.h>'
expect allowed tests/io/a.c '#include <onnx.pb-c.h>'
expect allowed dist/a.c '#include <mpi.h>'
expect allowed dist/a.c '#include "dnn/plan.h"'
expect allowed dnn/cpu/onednn.c '#include <oneapi/dnnl/dnnl.h>'
expect allowed dnn/ref/conv.c '#include "dnn/op_impl.h"'
expect allowed dnn/plan.c '#include "dnn/backend.h"'
expect allowed dnn/plan.c 'tensor->data = base + offset;'
expect allowed dnn/plan.c 'rows.data = (float *)rows.data + offset;'
expect allowed dnn/ref/conv.c 'float *x = step->x.data;'
expect allowed apps/main.c '#include "io/dataset.h"'
expect allowed tests/io/test_png.c '#include <png.h>'
expect allowed tests/dnn/test_plan.c '#include "dnn/plan_impl.h"'
expect allowed tests/dnn/test_plan.c '#include "io/h5.h"'

expect refused core/a.c '#include "dnn/plan.h"'
expect refused core/a.h '#include "apps/command.h"'
expect refused dnn/a.c '#include "io/image.h"'
expect refused dnn/models/deeplab.c '#include "dist/comm.h"'
expect refused io/a.c '#include "dnn/plan.h"'
expect refused dist/a.c '#include "io/image.h"'
expect refused core/a.c '#include "tests/support/parity.h"'
expect refused core/a.c '#include "mem.h"'
expect refused core/a.c '#include <core/mem.h>'
expect refused dnn/a.c '  #  include <mpi.h>'
expect refused apps/a.c '#include <mpi.h>'
expect refused apps/a.c '#include <hdf5.h>'
expect refused core/a.c '#include <png.h>'
expect refused apps/a.c '#include <events.pb-c.h>'
expect refused dnn/a.c '#include <protobuf-c/protobuf-c.h>'
expect refused dnn/a.c '#include <jpeglib.h>'
expect refused apps/a.c '#include <tiffio.h>'
expect refused dnn/cpu/conv.c '#include <oneapi/dnnl/dnnl.h>'
expect refused apps/a.c '#include <dnnl.h>'
expect refused dnn/cpu/a.c '#include <cuda_runtime.h>'
expect refused io/a.c '#include "dnn/plan_impl.h"'
expect refused dnn/plan.c '#include "dnn/cpu/plan_impl.h"'
expect refused dnn/ref/conv.c '#include "dnn/cpu/conv_impl.h"'
expect refused tests/io/test_a.c '#include "dnn/plan_impl.h"'
expect refused tests/io/test_a.c '#include <mpi.h>'
expect refused dnn/optim.c '#include "dnn/ref/ref.h"'
expect refused dnn/plan.c 'float *x = tensor->data;'
expect refused dnn/plan_memory.c 'sum += *(const float *)tensor->data;'
expect refused dnn/loss_common.c 'sum += rows.data[i];'

exit $failed
