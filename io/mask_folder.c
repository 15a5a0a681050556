#include "io/mask_folder.h"

#include <string.h>

#include "io/h5.h"
#include "io/path.h"
#include "io/source_impl.h"

struct atr_mask_folder {
    char *path;
    atr_source_files files;
};

atr_status atr_mask_folder_open(const char *path, atr_mask_folder **out)
{
    static const char *const suffixes[] = {"png", "jpg", "jpeg", NULL};
    atr_mask_folder *folder = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    if (!atr_path_is_folder(path))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: there is no such folder", path);
    ATR_TRY(ATR_NEW(1, &folder));
    ATR_TRY(atr_strdup(path, &folder->path));
    ATR_TRY(atr_source_collect(path, suffixes, &folder->files));
    if (folder->files.count == 0) {
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s: there is no mask (*.png) in this folder", path);
        goto done;
    }
    *out = folder;
    folder = NULL;

done:
    atr_mask_folder_close(folder);
    return status;
}

void atr_mask_folder_close(atr_mask_folder *folder)
{
    if (folder == NULL)
        return;
    atr_source_files_free(&folder->files);
    atr_free(folder->path);
    atr_free(folder);
}

int64_t atr_mask_folder_count(const atr_mask_folder *folder)
{
    return folder->files.count;
}

const char *atr_mask_folder_name(const atr_mask_folder *folder, int64_t index)
{
    return folder->files.list[index].stem;
}

const char *atr_mask_folder_path(const atr_mask_folder *folder, int64_t index)
{
    return folder->files.list[index].path;
}

int64_t atr_mask_folder_find(const atr_mask_folder *folder, const char *name)
{
    return atr_source_find(&folder->files, name);
}

bool atr_mask_folder_has_any_case(const atr_mask_folder *folder, const char *name)
{
    return atr_source_has_any_case(&folder->files, name);
}

/* What the values say: L02 or L04, or nothing. */
static atr_status value_fault(const char *path, bool jpeg, const atr_label_scan *scan, atr_findings *findings)
{
    if (jpeg || atr_label_scan_blended(scan))
        return atr_findings_add(
            findings, "L04", ATR_ERROR, path,
            "masks must be lossless: %lld different values.\nSaved as JPEG or resized with interpolation, "
            "which makes other classes along every edge. Export as PNG, nearest neighbour.",
            (long long)scan->values);
    if (scan->odd_pixels > 0)
        return atr_findings_add(
            findings, "L02", ATR_ERROR, path,
            "value %lld at (x=%lld, y=%lld), %lld pixels of it, is no class.\nThe numbers of a mask are "
            "class ids from 0; each pixel that is none of them would count as right or wrong by accident. "
            "Where it means \"ignore\" in the truth: --ignore %lld,255.",
            (long long)scan->worst, (long long)scan->worst_x, (long long)scan->worst_y,
            (long long)scan->worst_pixels, (long long)scan->worst);
    return ATR_OK;
}

/* Decodes into `mask`, whose values stay NULL where that is a finding. */
static atr_status decode(const char *path, atr_findings *findings, bool *jpeg, atr_mask *mask)
{
    atr_image_info info = {0};
    void *bytes = NULL;
    size_t size = 0;
    atr_status status = atr_file_read(path, 0, &bytes, &size);

    if (status == ATR_OK)
        status = atr_image_probe(bytes, size, &info);
    *jpeg = info.format == ATR_IMAGE_JPEG;
    if (status == ATR_OK && !*jpeg && info.channels > 1 && !info.palette) {
        status = atr_findings_add(
            findings, "L03", ATR_ERROR, path,
            "the mask has %d channels of %d bits: colours, where class numbers are wanted.\nExport it as "
            "indexed or grey PNG whose values are class ids.",
            info.channels, info.bits);
        goto done;
    }
    if (status == ATR_OK)
        status = atr_mask_decode(bytes, size, mask);
    if (status != ATR_OK)
        status = atr_findings_unreadable(findings, path, path, status);

done:
    atr_free(bytes);
    return status;
}

atr_status atr_mask_folder_read(const atr_mask_folder *folder, int64_t index, const atr_label_map *map,
                                atr_findings *findings, uint8_t **ids, int64_t *width, int64_t *height)
{
    const char *const path = folder->files.list[index].path;
    const int64_t before = atr_findings_count(findings);
    atr_label_scan scan;
    atr_mask mask = {0};
    bool jpeg = false;
    atr_status status = ATR_OK;

    *ids = NULL;
    ATR_TRY(decode(path, findings, &jpeg, &mask));
    if (mask.values == NULL)
        goto done;
    *width = mask.width;
    *height = mask.height;
    ATR_TRY(ATR_NEW(mask.width * mask.height, ids));
    ATR_TRY(atr_label_scan_mask(map, &mask, *ids, &scan));
    ATR_TRY(value_fault(path, jpeg, &scan, findings));

done:
    if (status != ATR_OK || atr_findings_count(findings) > before) {
        atr_free(*ids);
        *ids = NULL;
    }
    atr_mask_free(&mask);
    return status;
}

atr_status atr_name_list_read(const char *path, char ***names, int64_t *count)
{
    return atr_source_read_list(path, names, count);
}

void atr_name_list_free(char **names, int64_t count)
{
    if (names != NULL)
        atr_h5_names_free(names, count);
}
