/* `atrous predict --fps`: how fast pictures are segmented, from decoded pixels to class ids. */
#include <stdio.h>

#include "apps/cli.h"
#include "apps/predict_impl.h"
#include "core/timer.h"

typedef struct speed {
    atr_image picture;
    const atr_image **pictures; /* [batch], all the same one */
    atr_segmentation *wanted;   /* [batch] */
    uint8_t *ids;               /* [batch,height,width] */
    double *seconds;            /* [repeats] */
} speed;

static atr_status read_picture(const char *path, atr_image *out)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_file_read(path, 0, &bytes, &size));
    ATR_TRY(atr_fail_prefix(atr_image_decode_rgb(bytes, size, true, out), "%s", path));
done:
    atr_free(bytes);
    return status;
}

static atr_status measure(predict_job *job, speed *s)
{
    atr_status status = ATR_OK;
    const int64_t batch = job->options->batch, repeats = job->options->speed;
    const int64_t pixels = s->picture.width * s->picture.height;

    ATR_TRY(ATR_NEW(batch, &s->pictures));
    ATR_TRY(ATR_NEW(batch, &s->wanted));
    ATR_TRY(ATR_NEW(batch * pixels, &s->ids));
    ATR_TRY(ATR_NEW(repeats, &s->seconds));
    for (int64_t i = 0; i < batch; i++) {
        s->pictures[i] = &s->picture;
        s->wanted[i] = (atr_segmentation){.ids = s->ids + i * pixels};
    }
    /* The first pass plans and packs. */
    ATR_TRY(atr_segmenter_run_batch(job->streams.segmenters[0], s->pictures, s->wanted, batch));
    for (int64_t i = 0; i < repeats; i++) {
        const double start = atr_seconds();
        ATR_TRY(atr_segmenter_run_batch(job->streams.segmenters[0], s->pictures, s->wanted, batch));
        s->seconds[i] = atr_seconds() - start;
    }
done:
    return status;
}

static atr_status print_json(const predict_job *job, const char *path, const speed *s, atr_samples time)
{
    json_t *object = json_object();
    const double batch = (double)job->options->batch;

    json_object_set_new(object, "picture", atr_tally_name(path));
    json_object_set_new(object, "width", json_integer(s->picture.width));
    json_object_set_new(object, "height", json_integer(s->picture.height));
    json_object_set_new(object, "batch", json_integer(job->options->batch));
    json_object_set_new(object, "repeats", json_integer(time.count));
    json_object_set_new(object, "min_ms", json_real(1e3 * time.min));
    json_object_set_new(object, "median_ms", json_real(1e3 * time.median));
    json_object_set_new(object, "mean_ms", json_real(1e3 * time.mean));
    json_object_set_new(object, "p95_ms", json_real(1e3 * time.p95));
    json_object_set_new(object, "fps", json_real(batch / time.median));
    return atr_cli_json(object, 6);
}

atr_status predict_speed(predict_job *job, const atr_inputs *inputs)
{
    atr_status status = ATR_OK;
    speed s = {0};

    ATR_TRY(read_picture(inputs->paths[0], &s.picture));
    ATR_TRY(measure(job, &s));
    const atr_samples time = atr_samples_of(s.seconds, job->options->speed);
    if (job->options->json) {
        ATR_TRY(print_json(job, inputs->paths[0], &s, time));
    } else {
        printf("%s: %lldx%lld, batch %lld, %lld passes from pixels to class ids\n", inputs->paths[0],
               (long long)s.picture.width, (long long)s.picture.height, (long long)job->options->batch,
               (long long)time.count);
        printf("one pass: median %.2f ms, mean %.2f ms, fastest %.2f ms, 95 %% within %.2f ms\n",
               1e3 * time.median, 1e3 * time.mean, 1e3 * time.min, 1e3 * time.p95);
        printf("%.2f pictures a second\n", (double)job->options->batch / time.median);
    }
done:
    atr_image_free(&s.picture);
    atr_free(s.pictures);
    atr_free(s.wanted);
    atr_free(s.ids);
    atr_free(s.seconds);
    return status;
}
