#include "tests/support/packing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/path.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

#define CLASSES "__ignore__\n_background_\ncat\ndog\nbird\n"

int packing_open(void **state)
{
    packing *p = calloc(1, sizeof *p);

    if (p == NULL || atr_findings_create(&p->findings) != ATR_OK)
        return -1;
    p->root = scratch_create();
    p->folder = strdup(scratch_text("%s/annotated", p->root));
    p->output = strdup(scratch_text("%s/out.h5", p->root));
    p->names = strdup(scratch_text("%s/names.txt", p->root));
    scratch_write_text(p->names, CLASSES);
    p->config = (atr_pack_config){.source = p->folder,
                                  .output = p->output,
                                  .classes = p->names,
                                  .split = "1:0",
                                  .seed = 1,
                                  .force = true,
                                  .threads = 2};
    *state = p;
    return 0;
}

int packing_close(void **state)
{
    packing *p = *state;

    atr_findings_destroy(p->findings);
    scratch_remove(p->root);
    free(p->folder);
    free(p->output);
    free(p->names);
    free(p);
    return 0;
}

atr_status packing_run(packing *p)
{
    atr_findings_destroy(p->findings);
    p->findings = NULL;
    assert_int_equal(atr_findings_create(&p->findings), ATR_OK);
    return atr_pack(&p->config, NULL, p->findings, &p->result);
}

void packing_works(packing *p)
{
    if (packing_run(p) == ATR_OK)
        return;
    for (int64_t i = 0; i < atr_findings_count(p->findings); i++)
        print_message("%s %s: %s\n", atr_findings_at(p->findings, i)->code,
                      atr_findings_at(p->findings, i)->subject, atr_findings_at(p->findings, i)->message);
    fail_msg("%s", atr_status_message());
}

const atr_finding *packing_expect(packing *p, const char *code, atr_severity severity, const char *subject,
                                  const char *const *words)
{
    for (int64_t i = 0; i < atr_findings_count(p->findings); i++) {
        const atr_finding *finding = atr_findings_at(p->findings, i);
        if (strcmp(finding->code, code) != 0 || (subject != NULL && strcmp(finding->subject, subject) != 0))
            continue;
        assert_int_equal(finding->severity, severity);
        for (int w = 0; words[w] != NULL; w++)
            if (strstr(finding->message, words[w]) == NULL)
                fail_msg("%s lacks '%s': %s", code, words[w], finding->message);
        return finding;
    }
    fail_msg("no finding %s about %s", code, subject == NULL ? "anything" : subject);
    return NULL;
}

void packing_refused(packing *p, const char *code, const char *subject, const char *const *words)
{
    remove(p->output);
    assert_int_equal(packing_run(p), ATR_ERR_DATA);
    packing_expect(p, code, ATR_ERROR, subject, words);
    assert_false(atr_path_exists(p->output));
}

void labelme_file(packing *p, const char *name, const char *members, const char *shapes)
{
    scratch_write_text(
        scratch_text("%s/%s.json", p->folder, name),
        scratch_text("{\"version\":\"5.4.1\",\"flags\":{},%s,\"shapes\":[%s]}", members, shapes));
}

void labelme_pair(packing *p, const char *name, const char *shapes)
{
    voc_jpeg(scratch_text("%s/%s.jpg", p->folder, name), LABELME_WIDTH, LABELME_HEIGHT,
             picture_hash(name, strlen(name)), 0);
    labelme_file(
        p, name,
        scratch_text("\"imagePath\":\"%s.jpg\",\"imageData\":null,\"imageHeight\":%d,\"imageWidth\":%d",
                     atr_path_base(name), LABELME_HEIGHT, LABELME_WIDTH),
        shapes);
}

/* Base64 of a file; malloc'ed. */
static char *encode(const char *path)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = 0, used = 0;
    uint8_t *bytes = scratch_read(path, &size);
    char *text = calloc(1, size * 2 + 8);

    assert_non_null(text);
    for (size_t i = 0; i < size; i += 3) {
        const size_t here = size - i < 3 ? size - i : 3;
        const unsigned group = (unsigned)bytes[i] << 16 | (here > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (here > 2 ? bytes[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            text[used++] = k <= here ? letters[group >> (18 - 6 * k) & 63] : '=';
    }
    free(bytes);
    return text;
}

void labelme_embedded(packing *p, const char *name, int width, int height, int orientation,
                      const char *members)
{
    const char *picture = scratch_text("%s/inside.jpg", p->root);

    voc_jpeg(picture, width, height, picture_hash(name, strlen(name)), orientation);
    char *data = encode(picture), *text = malloc(strlen(data) + 1024);
    assert_non_null(text);
    sprintf(text, "{%s\"imagePath\":\"gone.jpg\",\"shapes\":[" LABELME_CAT "],\"imageData\":\"%s\"}", members,
            data);
    scratch_write_text(scratch_text("%s/%s.json", p->folder, name), text);
    free(text);
    free(data);
}
