#ifndef ATR_APPS_QUANTIZE_H
#define ATR_APPS_QUANTIZE_H

#include "apps/evaluate.h"
#include "dnn/calibrate.h"

/* How a trained network becomes one in 8-bit integers: calibrated on pictures of a data set, each layer measured alone, sensitive
 * layers left in f32. The network itself stays as it is; what comes out is session->quant. */

typedef struct atr_quantize_options {
    atr_split split;  /* of the pictures to calibrate on */
    int64_t pictures; /* of them, evenly over the split */
    int64_t probes;   /* of those, that each layer is measured on */
    atr_calibration_how how;
    double
        most_error; /* layers are left in f32, the worst first, until the expected error of the class scores is at most this */
    atr_fit_mode fit;
    int64_t height, width; /* network's input; 0: the model's own */
    /* Told how far the measuring of layers is; may be NULL. */
    void (*progress)(void *user, int64_t done, int64_t total);
    void *user;
} atr_quantize_options;

/* One convolution. Errors are relative L2 distances of the class scores from those of f32. */
typedef struct atr_quantized_layer {
    char name[ATR_NAME_BYTES];
    double error; /* where it alone is in integers */
    bool integers;
} atr_quantized_layer;

typedef struct atr_quantized {
    atr_quantized_layer *layers; /* [count], in the order of the network */
    int64_t count;
    double all_error; /* of the class scores with all layers in integers */
    double error;     /* with those that were chosen */
} atr_quantized;

/* Fills session->quant; one process. Every layer that a plan can run in integers is measured so, whatever is fastest on this machine.
 * ATR_ERR_DATA: an empty split, or other classes than the model's. */
atr_status atr_quantize(atr_session *session, const atr_dataset *dataset, const atr_quantize_options *options,
                        atr_quantized *out);

/* Takes the `count` worst of the layers that are still in integers back to f32, in `quantized` and in session->quant. */
void atr_quantize_spare(atr_session *session, atr_quantized *quantized, int64_t count);

void atr_quantized_free(atr_quantized *quantized);

/* Steps made from one pass of `images` [batch,height,width,channels]: for measurements of speed. */
atr_status atr_quantize_roughly(atr_session *session, const float *images, int64_t batch, int64_t height,
                                int64_t width);

#endif
