#ifndef ATR_TESTS_SUPPORT_MODEL_H
#define ATR_TESTS_SUPPORT_MODEL_H

#include <stdint.h>

/* Writes a model file with made-up weights (backbone mobilenetv2, output stride 16, `classes` of them, 33x49). `names`
 * [classes] may be NULL. For tests of apps/. Failures end the test. */
void model_write(const char *path, int64_t classes, const char *const *names);

#endif
