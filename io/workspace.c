#include "io/workspace.h"

atr_status atr_workspace_reserve(atr_workspace *workspace, int64_t size)
{
    atr_status status = ATR_OK;

    if (size <= workspace->size)
        return ATR_OK;
    atr_workspace_free(workspace);
    status = atr_alloc(size, 1, (void **)&workspace->bytes);
    if (status == ATR_OK)
        workspace->size = size;
    return status;
}

void atr_workspace_free(atr_workspace *workspace)
{
    atr_free(workspace->bytes);
    *workspace = (atr_workspace){0};
}
