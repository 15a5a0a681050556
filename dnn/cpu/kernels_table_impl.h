/* The functions of one instruction level, in the initialiser of its atr_cpu_kernels. */
.depthwise = depthwise,
.depthwise_weight_gradient = depthwise_weight_gradient,
.moments = moments,
.column_sums = column_sums,
.normalise = normalise,
.norm_sums = norm_sums,
.norm_gradient = norm_gradient,
