#include "io/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/machine.h"
#include "core/timer.h"
#include "io/path.h"

/* Seconds between touches; after how many a holder counts as silent; how long a silent holder's lock is waited for. */
enum { TOUCH = 20, SILENT = 90, PATIENCE = 120 };

struct atr_run_lock {
    char *path;
    int file;
    bool locked; /* by the file system */
    double touched;
};

/* Who holds it, as the file says. */
typedef struct holder {
    char host[ATR_HOST_BYTES], since[ATR_TIME_TEXT_BYTES];
    long long process;
    double age; /* seconds since its last touch, as far as clocks agree */
    bool here;  /* on this node */
    bool gone;  /* on this node, and there is no such process any more */
} holder;

/* False: the file is empty, so nobody does. */
static bool read_holder(const atr_run_lock *lock, holder *out)
{
    char text[256] = "", host[ATR_HOST_BYTES];
    struct stat info;

    *out = (holder){0};
    if (pread(lock->file, text, sizeof text - 1, 0) <= 0 ||
        sscanf(text, "%63s %lld %31s", out->host, &out->process, out->since) != 3)
        return false;
    atr_host_name(host);
    out->here = strcmp(host, out->host) == 0;
    out->gone = out->here && kill((pid_t)out->process, 0) != 0 && errno == ESRCH;
    out->age = fstat(lock->file, &info) == 0 ? difftime(time(NULL), info.st_mtime) : 0;
    return true;
}

static atr_status refuse(const char *folder, const holder *h)
{
    if (h->host[0] == '\0')
        return atr_fail(ATR_ERR_USAGE, "R04: another job writes to %s: wait for it, or use another folder",
                        folder);
    return atr_fail(ATR_ERR_USAGE,
                    "R04: another job writes to %s: node %s, process %lld, since %s. Wait for it or end it, "
                    "or use another folder.",
                    folder, h->host, h->process, h->since);
}

/* 0: it is ours. EAGAIN: another process has it. ENOTSUP: there are no locks here. Locks of an open file
 * rather than of the process: another part of the program that opens and closes the file cannot lose it. */
static int try_lock(int file)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file, F_OFD_SETLK, &range) == 0)
        return 0;
    if (errno == EINVAL && fcntl(file, F_SETLK, &range) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? EAGAIN : ENOTSUP;
}

static atr_status write_holder(atr_run_lock *lock)
{
    char text[256], host[ATR_HOST_BYTES], now[ATR_TIME_TEXT_BYTES];

    atr_host_name(host);
    const int length =
        snprintf(text, sizeof text, "%s %lld %s\n", host, (long long)getpid(), atr_time_text(now));
    if (ftruncate(lock->file, 0) != 0 || pwrite(lock->file, text, (size_t)length, 0) != length ||
        fsync(lock->file) != 0)
        return atr_fail(ATR_ERR_IO, "%s: %s", lock->path, strerror(errno));
    lock->touched = atr_seconds();
    return ATR_OK;
}

/* Where there are no locks: whether the holder that the file names is still at work. */
static bool seems_alive(const atr_run_lock *lock, holder *h)
{
    return read_holder(lock, h) && !h->gone && h->age < PATIENCE;
}

/* The holder's lock is there; it is refused at once if it gives signs of life, else waited for. */
static atr_status wait_for(const char *folder, const atr_run_lock *lock, bool *taken)
{
    const double started = atr_seconds();
    holder h;

    *taken = false;
    for (bool said = false; !*taken; said = true) {
        const bool known = read_holder(lock, &h);
        /* An empty file that is locked: its holder is about to write its name, or to give it free. */
        const double patience = known && h.age < SILENT && !h.gone ? 0 : known ? PATIENCE : 5;
        if (atr_seconds() - started >= patience)
            return refuse(folder, &h);
        if (known && !said)
            atr_log(ATR_LOG_WARN,
                    "%s is held by process %lld on node %s, which gives no sign of life: waiting up to %d s",
                    folder, h.process, h.host, PATIENCE);
        nanosleep(&(struct timespec){.tv_nsec = 500 * 1000 * 1000}, NULL);
        *taken = try_lock(lock->file) == 0;
    }
    return ATR_OK;
}

atr_status atr_run_lock_take(const char *folder, atr_run_lock **out)
{
    atr_run_lock *lock = NULL;
    holder h;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &lock));
    lock->file = -1;
    ATR_TRY(atr_path_join(folder, ".lock", &lock->path));
    lock->file = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->file < 0) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", lock->path, strerror(errno));
        goto done;
    }
    const int reason = try_lock(lock->file);
    lock->locked = reason == 0;
    if (reason == EAGAIN)
        ATR_TRY(wait_for(folder, lock, &lock->locked));
    if (reason == ENOTSUP && seems_alive(lock, &h)) {
        status = refuse(folder, &h);
        goto done;
    }
    ATR_TRY(write_holder(lock));
    *out = lock;
    lock = NULL;

done:
    if (lock != NULL && lock->file >= 0)
        close(lock->file); /* not released: the name in it is another's */
    if (lock != NULL)
        atr_free(lock->path);
    atr_free(lock);
    return status;
}

/* As try_lock(), without taking it. */
static int ask_lock(int file)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file, F_OFD_GETLK, &range) != 0) {
        range = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (errno != EINVAL || fcntl(file, F_GETLK, &range) != 0)
            return ENOTSUP;
    }
    return range.l_type == F_UNLCK ? 0 : EAGAIN;
}

atr_run_use atr_run_lock_look(const char *folder)
{
    atr_run_lock lock = {.file = -1};
    atr_run_use use = ATR_RUN_UNKNOWN;
    holder h;

    if (atr_path_join(folder, ".lock", &lock.path) != ATR_OK)
        return use;
    lock.file = open(lock.path, O_RDONLY | O_CLOEXEC);
    if (lock.file >= 0) {
        const int reason = ask_lock(lock.file);
        const bool held = reason == EAGAIN || (reason == ENOTSUP && seems_alive(&lock, &h));
        use = held ? ATR_RUN_HELD : ATR_RUN_FREE;
        close(lock.file);
    }
    atr_free(lock.path);
    return use;
}

void atr_run_lock_beat(atr_run_lock *lock)
{
    const double now = atr_seconds();

    if (now - lock->touched < TOUCH)
        return;
    lock->touched = now;
    if (futimens(lock->file, NULL) != 0)
        errno = 0; /* a file system that is full or gone will say so where it matters */
}

void atr_run_lock_release(atr_run_lock *lock)
{
    if (lock == NULL)
        return;
    /* The file itself stays: one that waits for its lock has it open already. */
    if (ftruncate(lock->file, 0) != 0)
        errno = 0;
    close(lock->file);
    atr_free(lock->path);
    atr_free(lock);
}
