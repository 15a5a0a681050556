/* Where the picture of an annotation is. The path in it comes from elsewhere and must not lead to any file of this machine. */
#include <string.h>

#include "io/labelme_impl.h"
#include "io/path.h"

/* Takes the last part off `path`; climbing above the root turns it into "ROOT/..", once. False: not allowed any further. */
static bool climb(char *path, size_t root_length)
{
    char *slash = strrchr(path, '/');

    if (strlen(path) == root_length) {
        strcat(path, "/..");
        return true;
    }
    if (strcmp(path + root_length, "/..") == 0)
        return false;
    *slash = '\0';
    return true;
}

/* `folder` (the root or below it) and a relative path with '/' in it, joined without "." and "..". A way out of the folder
 * above the root is not followed: `*out` is NULL then. */
static atr_status join_inside(const char *root, const char *folder, const char *relative, char **out)
{
    const size_t root_length = strlen(root);
    atr_status status = ATR_OK;
    char *path = NULL;
    bool inside = true;

    *out = NULL;
    ATR_TRY(ATR_NEW((int64_t)(strlen(folder) + strlen(relative) + 8), &path));
    strcpy(path, folder);
    for (const char *at = relative; *at != '\0' && inside;) {
        const size_t length = strcspn(at, "/");
        if (length == 2 && memcmp(at, "..", 2) == 0)
            inside = climb(path, root_length);
        else if (length > 0 && !(length == 1 && *at == '.'))
            strncat(strcat(path, "/"), at, length);
        at += length + (at[length] == '/');
    }
    if (inside) {
        *out = path;
        path = NULL;
    }

done:
    atr_free(path);
    return status;
}

atr_status atr_labelme_picture(const char *root, const char *annotation, const char *image_path, char **out)
{
    atr_status status = ATR_OK;
    char *folder = NULL, *image = NULL;

    *out = NULL;
    ATR_TRY(atr_format(&folder, "%.*s", (int)(atr_path_base(annotation) - annotation - 1), annotation));
    ATR_TRY(atr_strdup(image_path, &image));
    for (char *c = image; *c != '\0'; c++)
        if (*c == '\\')
            *c = '/';
    const bool absolute = image[0] == '/' || (image[0] != '\0' && image[1] == ':');
    if (!absolute)
        ATR_TRY(join_inside(root, folder, image, out));
    if (*out == NULL || !atr_path_exists(*out)) {
        atr_free(*out);
        *out = NULL;
        ATR_TRY(atr_path_join(folder, atr_path_base(image), out));
    }
    if (atr_path_base(image)[0] == '\0' || !atr_path_exists(*out) || atr_path_is_folder(*out)) {
        atr_free(*out);
        *out = NULL;
    }

done:
    atr_free(image);
    atr_free(folder);
    return status;
}
