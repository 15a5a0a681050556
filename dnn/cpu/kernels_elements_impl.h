/* The functions of one instruction level that take elements of one type, in the initialiser of its atr_cpu_kernels. */
// clang-format off
.lanes = LANES,
.depthwise = depthwise,
.depthwise_weight_gradient = depthwise_weight_gradient,
.moments = moments,
.column_sums = column_sums,
.normalise = normalise,
.norm_sums = norm_sums,
.norm_gradient = norm_gradient,
.clamp = clamp,
.clamp_gradient = clamp_gradient,
.add = add,
.dropout = dropout,
                // clang-format on
