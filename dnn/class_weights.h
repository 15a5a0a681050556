#ifndef ATR_DNN_CLASS_WEIGHTS_H
#define ATR_DNN_CLASS_WEIGHTS_H

#include <stdint.h>

/* Weights of classes in a loss by how often they occur, so that a rare class is not drowned by the background. */

typedef enum atr_weighing {
    ATR_WEIGH_INVERSE, /* n / (C n_k) */
    ATR_WEIGH_SQRT,    /* the root of it: milder */
    ATR_WEIGH_MEDIAN,  /* median frequency balancing (Eigen & Fergus, ICCV 2015): median of f / f_k */
    ATR_WEIGH_ENET,    /* 1 / ln(1.02 + n_k / n), 1.4 to 50 (Paszke et al. 2016, ENet) */
    ATR_WEIGHINGS
} atr_weighing;

/* "inverse", "sqrt", "median", "enet", NULL. */
extern const char *const atr_weighing_names[];

/* weights [classes] from n_k = pixels[k], n their sum, C the number of classes with a pixel; f_k = pixels[k] / area[k] is the
 * class's share of the pixels of those pictures that show it. A class without a pixel gets 0: no pixel asks for its weight. */
void atr_class_weights(atr_weighing weighing, int64_t classes, const int64_t *pixels, const int64_t *area,
                       float *weights);

#endif
