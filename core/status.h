#ifndef ATR_CORE_STATUS_H
#define ATR_CORE_STATUS_H

/* What every function that can fail returns. The kind of failure is the code; the words are set once,
 * where the fault is seen, and wait in a thread-local slot until somebody prints them. */

typedef enum atr_status {
    ATR_OK = 0,
    ATR_ERR_USAGE,       /* the caller (or the command line) asked for something that has no meaning */
    ATR_ERR_DATA,        /* a file or a buffer holds something it must not hold */
    ATR_ERR_NOT_FOUND,   /* a file, a name, a tensor is not there */
    ATR_ERR_IO,          /* the system refused to read, write, sync, rename, lock */
    ATR_ERR_MEMORY,      /* an allocation failed, or would exceed its limit */
    ATR_ERR_SHAPE,       /* dimensions do not fit each other */
    ATR_ERR_UNSUPPORTED, /* valid, but not in this build or back end */
    ATR_ERR_NUMERIC,     /* not a number, or infinite */
    ATR_ERR_REMOTE,      /* another rank failed; its message is this one's message */
    ATR_ERR_STOPPED,     /* stopped on request; the work can be resumed */
    ATR_ERR_INTERNAL     /* a library below returned what it never should */
} atr_status;

/* Sets this thread's message and returns `status`, so that a fault reads `return atr_fail(…)`.
 * The message has no newline at its end. It is never called with ATR_OK. */
atr_status atr_fail(atr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before this thread's message: for a caller that knows the file or sample the callee does not.
 * Returns `status` unchanged; does nothing when it is ATR_OK. */
atr_status atr_fail_prefix(atr_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message of the last failure on this thread; "" if none. Borrowed: valid until the next failure. */
const char *atr_status_message(void);

/* A short name of the code, such as "bad data". Never NULL. */
const char *atr_status_name(atr_status status);

/* Needs a local `atr_status status = ATR_OK;` and a label `done:`. */
#define ATR_TRY(call)                                                                                        \
    do {                                                                                                     \
        status = (call);                                                                                     \
        if (status != ATR_OK)                                                                                \
            goto done;                                                                                       \
    } while (0)

#endif
