/* Real street pictures through the whole program: pack, import of weights that PyTorch trained, evaluation at the pictures' own
 * size; the same confusion matrix as PyTorch's (shared/camvid/reference_val.json). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "io/path.h"
#include "tests/support/command.h"
#include "tests/support/parity.h"
#include "tests/support/scratch.h"

enum { CLASSES = 11 };

static char *folder;
static char camvid[4300];

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    if (parity_shared() != NULL)
        snprintf(camvid, sizeof camvid, "%s/camvid", parity_shared());
    if (camvid[0] == '\0' || !atr_path_is_folder(camvid)) {
        printf("skipped: no CamVid pictures in the folder of shared test data\n");
        camvid[0] = '\0';
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *in_camvid(const char *name)
{
    return scratch_text("%s/%s", camvid, name);
}

static const char *in(const char *name)
{
    return scratch_text("%s/%s", folder, name);
}

static void pack_refuses_the_unlabelled_value_until_told_what_it_means(void **state)
{
    (void)state;
    if (camvid[0] == '\0')
        skip();
    command_expect(1, "L02", atr_cmd_pack, "pack", in_camvid("VOC2007"), "-o", in("no.h5"), "--classes", "11",
                   NULL);
    assert_false(atr_path_exists(in("no.h5")));
    command_expect(0, "468 samples (train 367, val 101", atr_cmd_pack, "pack", in_camvid("VOC2007"), "-o",
                   in("camvid.h5"), "--classes", "11", "--ignore", "11", NULL);
}

/* Rows of truth; fails unless there are CLASSES rows of as many numbers. */
static void read_confusion(const char *path, int64_t *out)
{
    size_t size = 0;
    char *text = (char *)scratch_read(path, &size), *at = text;

    for (int i = 0; i < CLASSES * CLASSES; i++) {
        out[i] = strtoll(at, &at, 10);
        assert_int_equal(*at++, i % CLASSES == CLASSES - 1 ? '\n' : ',');
    }
    assert_int_equal(*at, '\0');
    free(text);
}

static void val_scores_are_pytorchs(void **state)
{
    json_error_t error;
    int64_t ours[CLASSES * CLASSES], different = 0, total = 0;

    (void)state;
    if (camvid[0] == '\0')
        skip();
    command_expect(0, "11 classes", atr_cmd_import, "import", in_camvid("reference_mobilenetv2_os16_k11.pth"),
                   "-o", in("model.h5"), NULL);
    command_expect(0, "mIoU", atr_cmd_eval, "eval", in("model.h5"), in("camvid.h5"), "--fit", "none",
                   "--split", "val", "-o", in("scores"), NULL);
    json_t *golden = json_load_file(in_camvid("reference_val.json"), 0, &error);
    json_t *metrics = json_load_file(in("scores/metrics.json"), 0, &error);
    assert_non_null(golden);
    assert_non_null(metrics);
    read_confusion(in("scores/confusion.csv"), ours);
    for (size_t t = 0; t < CLASSES; t++)
        for (size_t p = 0; p < CLASSES; p++) {
            const json_t *row = json_array_get(json_object_get(golden, "confusion"), t);
            const int64_t theirs = json_integer_value(json_array_get(row, p));
            total += theirs;
            different += llabs(theirs - ours[t * CLASSES + p]);
        }
    const double miou = 100 * json_real_value(json_object_get(metrics, "miou"));
    const double wanted = json_number_value(json_object_get(golden, "miou"));
    printf("mIoU %.4f, PyTorch %.4f; %lld of %lld pixels elsewhere\n", miou, wanted, (long long)different / 2,
           (long long)total);
    assert_true(total > 17000000);
    assert_true((double)different / 2 <= 1e-4 * (double)total);
    assert_true(fabs(miou - wanted) <= 0.02);
    for (size_t k = 0; k < CLASSES; k++) {
        const double iou = 100 * json_number_value(json_array_get(json_object_get(metrics, "iou"), k));
        assert_true(fabs(iou - json_number_value(json_array_get(json_object_get(golden, "iou"), k))) <= 0.05);
    }
    json_decref(golden);
    json_decref(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_refuses_the_unlabelled_value_until_told_what_it_means),
        cmocka_unit_test(val_scores_are_pytorchs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
