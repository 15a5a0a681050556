#ifndef ATR_TESTS_SUPPORT_PARITY_H
#define ATR_TESTS_SUPPORT_PARITY_H

#include "core/params.h"
#include "io/h5.h"

/* The golden numbers: float64 results of the public PyTorch implementation, and the formulas that generate weights, pictures
 * and labels on both sides. Found through $ATR_SHARED, else ../shared beside the sources. Failures end the test. */

typedef struct parity_case {
    char group[64], backbone[32];
    int64_t output_stride, classes, batch, height, width;
    uint64_t seed;
    double norm_weight_offset, norm_bias_offset;
} parity_case;

/* The folder of shared test data, or NULL where there is none. */
const char *parity_shared(void);
/* Opens parity.h5; NULL (with the reason printed) where it does not exist: the test skips. */
atr_h5 *parity_open(void);
/* All groups whose backbone attribute is `backbone`; returns how many. */
int parity_cases(const atr_h5 *file, const char *backbone, parity_case *out, int room);

/* Parameters and buffers by formula. */
void parity_fill(atr_params *params, const parity_case *c);
/* Pictures [N,H,W,3] f32 and labels [N,H,W] u8 with 255 for the ignore value K; free with atr_free. */
float *parity_images(const parity_case *c);
uint8_t *parity_labels(const parity_case *c);

/* `count` doubles of dataset GROUP/NAME (any number type), to be freed with atr_free; NULL count accepts any size. */
double *parity_read(const atr_h5 *file, const parity_case *c, int64_t *count, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* One number. */
double parity_scalar(const atr_h5 *file, const parity_case *c, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* sqrt(sum (a-b)^2) / sqrt(sum b^2), and the largest |a-b|. */
double parity_relative_l2(const float *a, const double *b, int64_t count);
double parity_max_abs(const float *a, const double *b, int64_t count);

#endif
