#ifndef ATR_CORE_LOG_H
#define ATR_CORE_LOG_H

/* Lines of what goes on. The library itself never prints: a program that wants the lines gives a sink. */

typedef enum atr_log_level { ATR_LOG_DEBUG, ATR_LOG_INFO, ATR_LOG_WARN, ATR_LOG_ERROR } atr_log_level;

/* Receives one line without a newline. May be called from any thread, one call at a time. */
typedef void (*atr_log_fn)(void *user, atr_log_level level, const char *line);

/* Sends lines of `least` and above to `sink` (NULL: nowhere, as at the start). Borrows `user` until the next call.
 * Set it before threads are started. */
void atr_log_to(atr_log_fn sink, void *user, atr_log_level least);

void atr_log(atr_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
