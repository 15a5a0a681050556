#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    atr_log_fn sink;
    void *user;
    atr_log_level least;
} logger = {PTHREAD_MUTEX_INITIALIZER, NULL, NULL, ATR_LOG_INFO};

void atr_log_to(atr_log_fn sink, void *user, atr_log_level least)
{
    pthread_mutex_lock(&logger.lock);
    logger.sink = sink;
    logger.user = user;
    logger.least = least;
    pthread_mutex_unlock(&logger.lock);
}

void atr_log(atr_log_level level, const char *format, ...)
{
    char line[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&logger.lock);
    if (logger.sink != NULL && level >= logger.least)
        logger.sink(logger.user, level, line);
    pthread_mutex_unlock(&logger.lock);
}
