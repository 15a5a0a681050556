#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "core/machine.h"
#include "io/path.h"
#include "io/stage_impl.h"
#include "io/volume.h"

/* Whether copies fit, before anything is written. */

/* What a file takes on the disk so far. */
static int64_t taken(const char *path)
{
    struct stat facts;

    return lstat(path, &facts) == 0 ? (int64_t)facts.st_blocks * 512 : 0;
}

static int64_t missing_bytes(const atr_stage *stage)
{
    if (stage->state != ATR_STAGE_PARTIAL)
        return 0;
    const int64_t left = stage->bytes - taken(stage->partial);
    return left > 0 ? left : 0;
}

static bool is_ours(const char *key, atr_stage *const *stages, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (strstr(stages[i]->copy, key) != NULL)
            return true;
    return false;
}

static int64_t folder_bytes(const char *path)
{
    int64_t sum = 0;
    char *file = NULL;
    DIR *dir = opendir(path);

    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.' || atr_path_join(path, entry->d_name, &file) != ATR_OK)
            continue;
        sum += taken(file);
        atr_free(file);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

/* Bytes of this user's copies of other files. */
static int64_t other_copies(const char *home, atr_stage *const *stages, int64_t count)
{
    int64_t sum = 0;
    char *path = NULL;
    DIR *dir = opendir(home);

    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (strlen(entry->d_name) != 16 || is_ours(entry->d_name, stages, count) ||
            atr_path_join(home, entry->d_name, &path) != ATR_OK)
            continue;
        sum += folder_bytes(path);
        atr_free(path);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

/* Room in `folder`; what lies in tmpfs is memory. */
static atr_status find_room(const char *folder, int64_t *room, bool *memory)
{
    atr_volume volume;
    atr_machine *machine = NULL;
    atr_status status = ATR_OK;

    *memory = false;
    ATR_TRY(atr_volume_of(folder, &volume));
    *room = volume.free_bytes;
    if (strcmp(volume.type, "tmpfs") != 0 && strcmp(volume.type, "ramfs") != 0)
        goto done;
    ATR_TRY(ATR_NEW(1, &machine));
    atr_machine_read("", machine);
    const int64_t bounds[2] = {machine->memory_available, machine->memory_limit};
    for (int i = 0; i < 2; i++)
        if (bounds[i] > 0 && bounds[i] < *room) {
            *room = bounds[i];
            *memory = true;
        }

done:
    atr_free(machine);
    return status;
}

static atr_status refuse(const char *folder, int64_t need, int64_t room, bool memory, int64_t others,
                         const char *home)
{
    char *advice = NULL;
    atr_status status = ATR_OK;

    if (others > 0)
        ATR_TRY(atr_format(&advice,
                           " Other copies of yours take %.1f MB there: rm -r '%s' where no job uses them.",
                           (double)others / 1e6, home));
    status = atr_fail(ATR_ERR_IO,
                      "P04: no room to stage in %s: %.1f MB are needed, %.1f MB%s are free.%s Name another "
                      "folder, or leave --stage out.",
                      folder, (double)need / 1e6, (double)room / 1e6, memory ? " of memory" : "",
                      advice != NULL ? advice : "");

done:
    atr_free(advice);
    return status;
}

atr_status atr_stage_room(const char *folder, atr_stage *const *stages, int64_t count)
{
    int64_t need = 0, room = 0;
    bool memory = false;
    char *home = NULL;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < count; i++)
        need += missing_bytes(stages[i]);
    ATR_TRY(find_room(folder, &room, &memory));
    if (need <= room)
        goto done;
    ATR_TRY(atr_stage_home(folder, &home));
    status = refuse(folder, need, room, memory, other_copies(home, stages, count), home);

done:
    atr_free(home);
    return status;
}
