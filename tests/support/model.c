#include "tests/support/model.h"

#include <stdio.h>

#include "apps/session.h"
#include "tests/support/network.h"

void model_write(const char *path, int64_t classes, const char *const *names)
{
    atr_session session;
    atr_model_info info;

    atr_session_describe("mobilenetv2", classes, 16, &info);
    info.height = 33;
    info.width = 49;
    for (int64_t k = 0; names != NULL && k < classes; k++)
        snprintf(info.class_names[k], sizeof info.class_names[k], "%s", names[k]);
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 5));
    must(atr_checkpoint_write(path, &(atr_checkpoint){.info = &info, .params = session.params}));
    atr_session_close(&session);
}
