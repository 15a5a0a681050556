#ifndef ATR_TESTS_SUPPORT_PACKING_H
#define ATR_TESTS_SUPPORT_PACKING_H

#include "io/pack.h"

/* A folder of labelme files that a test makes, packs and reads what was said about it. Failures end the test. */

/* One test's things, for cmocka's setup and teardown. The classes are _background_, cat, dog and bird. */
typedef struct packing {
    char *root, *folder, *output, *names; /* ROOT, ROOT/annotated, ROOT/out.h5, ROOT/names.txt */
    atr_findings *findings;               /* of the last run */
    atr_pack_result result;
    atr_pack_config config; /* of the next run: all in train, on two threads */
} packing;
int packing_open(void **state);
int packing_close(void **state);

/* Runs it; runs it and prints the findings where it fails. */
atr_status packing_run(packing *p);
void packing_works(packing *p);

/* The first finding of `code` about `subject` (NULL: any) must be of this severity and contain each of `words` (NULL at the
 * end). */
const atr_finding *packing_expect(packing *p, const char *code, atr_severity severity, const char *subject,
                                  const char *const *words);
/* Packing must be refused for such an error, and nothing be written. */
void packing_refused(packing *p, const char *code, const char *subject, const char *const *words);

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A class "cat" triangle, as an entry of "shapes". */
#define LABELME_CAT "{\"label\":\"cat\",\"points\":[[2,2],[20,3],[9,11]]}"
enum { LABELME_WIDTH = 24, LABELME_HEIGHT = 14 };

/* FOLDER/NAME.json with these members and shapes, both as JSON text. */
void labelme_file(packing *p, const char *name, const char *members, const char *shapes);
/* FOLDER/NAME.jpg of LABELME_WIDTH x LABELME_HEIGHT and its annotation. */
void labelme_pair(packing *p, const char *name, const char *shapes);
/* FOLDER/NAME.json with a JPEG of this size and EXIF orientation (0: none) inside, and a cat. `members` end with a comma. */
void labelme_embedded(packing *p, const char *name, int width, int height, int orientation,
                      const char *members);

#endif
