#include "dnn/backend.h"

#include <omp.h>
#include <string.h>

/* All back ends of this build, best first. */
static const atr_backend_table *const tables[] = {&atr_backend_cpu, &atr_backend_ref};

enum { TABLES = sizeof tables / sizeof tables[0] };

const char *atr_backend_names(void)
{
    return "cpu, ref";
}

static atr_status find_table(const char *name, const atr_backend_table **out)
{
    for (int i = 0; i < TABLES; i++)
        if (strcmp(name, "auto") == 0 || strcmp(name, tables[i]->name) == 0) {
            *out = tables[i];
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_UNSUPPORTED, "--backend %s: not compiled into this build (have: %s)", name,
                    atr_backend_names());
}

atr_status atr_backend_open(const char *name, int threads, atr_backend **out)
{
    atr_status status = ATR_OK;
    const atr_backend_table *table = NULL;
    atr_backend *backend = NULL;

    *out = NULL;
    if (threads < 1)
        return atr_fail(ATR_ERR_USAGE, "%d threads: at least 1 is needed", threads);
    ATR_TRY(find_table(name, &table));
    ATR_TRY(ATR_NEW(1, &backend));
    backend->table = table;
    backend->threads = threads;
    atr_backend_enter(backend);
    if (table->open != NULL)
        ATR_TRY(table->open(threads, &backend->engine));
    *out = backend;
    backend = NULL;

done:
    atr_free(backend);
    return status;
}

void atr_backend_close(atr_backend *backend)
{
    if (backend == NULL)
        return;
    if (backend->table->close != NULL)
        backend->table->close(backend->engine);
    atr_free(backend);
}

void atr_backend_enter(const atr_backend *backend)
{
    omp_set_num_threads(backend->threads);
}

const atr_allocator *atr_backend_allocator(const atr_backend *backend)
{
    return backend->table->allocator != NULL ? backend->table->allocator(backend->engine)
                                             : &atr_host_allocator;
}
