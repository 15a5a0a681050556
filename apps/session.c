#include "apps/session.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dnn/rewrites.h"
#include "io/image.h"
#include "io/letterbox.h"

const atr_option atr_session_rows[] = {
    {.name = "backend",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_session_options, backend),
     .value = "auto",
     .argument = "NAME",
     .help = "what computes: auto, cpu, ref",
     .group = "Machine"},
    {.name = "threads",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_session_options, threads),
     .value = "0",
     .least = 0,
     .most = 4096,
     .help = "threads per process; 0: as many as CPUs were given to it"},
    {.name = "precision",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_session_options, precision),
     .value = "model",
     .choices = atr_precision_names,
     .help = "type of the activations between layers; auto: bf16 where this machine multiplies it natively "
             "and faster; int8: prediction with a quantised model; model: int8 where it is one, else f32"},
    {.name = "rewrite",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_session_options, rewrite),
     .argument = "-NAME,...",
     .help = "for tests and diagnosis: without these ways to speed up a network: " ATR_REWRITE_NAMES,
     .once = true},
    {.name = "memory-limit",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_session_options, memory_limit),
     .argument = "SIZE",
     .help =
         "refuse, before it is taken, what would make a process hold more: 500M, 8G; auto: what the control "
         "group or the machine has",
     .once = true},
    {.name = NULL},
};

atr_status atr_session_agree(const atr_session *session, atr_status status)
{
    return session->comm != NULL ? atr_comm_agree(session->comm, status) : status;
}

static bool is_root(const atr_session *session)
{
    return session->comm == NULL || atr_comm_rank(session->comm) == 0;
}

/* Ranks of one node whose CPU masks overlap must share those CPUs. */
static atr_status find_sharing(atr_comm *comm, int *ranks, int *sharing)
{
    const atr_cpu_mask own = atr_cpu_mask_get();
    atr_cpu_mask *masks = NULL;
    atr_status status = ATR_OK;

    *ranks = atr_comm_node_size(comm);
    ATR_TRY(ATR_NEW(*ranks, &masks));
    ATR_TRY(atr_comm_node_gather(comm, &own, sizeof own, masks));
    *sharing = atr_cpu_mask_sharing(masks, *ranks, atr_comm_node_rank(comm));

done:
    atr_free(masks);
    return status;
}

static atr_status decide_threads(int64_t wanted, atr_session *session)
{
    int ranks = 1, sharing = 1;
    atr_status status = ATR_OK;

    if (session->comm != NULL)
        ATR_TRY(find_sharing(session->comm, &ranks, &sharing));
    session->threads = atr_threads_given(ranks, sharing);
    if (wanted > session->threads.count && is_root(session))
        atr_log(ATR_LOG_WARN,
                "R02: %d rank%s x %lld threads on this node: more than the CPUs given to them. Using %d "
                "threads per rank.%s",
                ranks, ranks == 1 ? "" : "s", (long long)wanted, session->threads.count,
                ranks == 1
                    ? ""
                    : " mpirun --map-by ppr:N:node:PE=T --bind-to core gives each of N ranks T cores.");
    if (wanted > 0 && wanted < session->threads.count)
        session->threads.count = (int)wanted;

done:
    return status;
}

static atr_status open_backend(const atr_session_options *options, atr_session *session)
{
    atr_status status = ATR_OK;

    ATR_TRY(decide_threads(options->threads, session));
    ATR_TRY(atr_memory_limit_parse(options->memory_limit, &session->memory.limit));
    ATR_TRY(atr_backend_open(options->backend, session->threads.count, &session->backend));
    for (int64_t i = 0; i < options->rewrite.count; i++)
        ATR_TRY(atr_rewrites_without(options->rewrite.items[i], &session->backend->rewrites));

done:
    return status;
}

atr_status atr_session_open(const atr_session_options *options, atr_comm *comm, atr_session *out)
{
    atr_status status = ATR_OK;

    memset(out, 0, sizeof *out);
    out->comm = comm;
    ATR_TRY(atr_session_agree(out, open_backend(options, out)));
    out->precision = (atr_precision)options->precision;
    ATR_TRY(atr_precision_choose((atr_precision)options->precision, comm, out->backend));
done:
    return status;
}

static void drop_model(atr_session *session)
{
    atr_params_destroy(session->params);
    atr_graph_destroy(session->graph);
    atr_quant_free(&session->quant);
    session->params = NULL;
    session->graph = NULL;
    memset(&session->info, 0, sizeof session->info);
}

void atr_session_close(atr_session *session)
{
    drop_model(session);
    if (session->backend != NULL)
        atr_backend_close(session->backend);
    session->backend = NULL;
}

void atr_session_describe(const char *backbone, int64_t classes, int64_t output_stride, atr_model_info *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->architecture, sizeof out->architecture, "deeplabv3plus");
    snprintf(out->backbone, sizeof out->backbone, "%s", backbone);
    snprintf(out->fit, sizeof out->fit, "letterbox");
    out->output_stride = output_stride;
    out->align_corners = true;
    out->classes = classes;
    out->channels = 3;
    for (int64_t c = 0; c < out->channels; c++)
        out->scale[c] = 1.0 / 255.0;
    out->pad_value = ATR_PAD_GREY;
    atr_palette_voc(out->palette);
}

/* What a file asks for must be what this program builds: a model is data, so it may ask for anything. */
static atr_status check_info(const atr_model_info *info)
{
    if (strcmp(info->architecture, "deeplabv3plus") != 0)
        return atr_fail(ATR_ERR_UNSUPPORTED, "architecture '%s' is not known (have: deeplabv3plus)",
                        info->architecture);
    if (!info->align_corners)
        return atr_fail(ATR_ERR_UNSUPPORTED,
                        "the model resizes without align_corners, which this program does not");
    if (info->pad_value != ATR_PAD_GREY)
        return atr_fail(ATR_ERR_UNSUPPORTED, "the model pads pictures with %g; this program pads with %d",
                        info->pad_value, ATR_PAD_GREY);
    return ATR_OK;
}

atr_status atr_session_graph(const atr_model_info *info, const double *dropout, atr_graph **out)
{
    atr_model_config config = {
        .classes = info->classes,
        .input_channels = info->channels,
        .output_stride = info->output_stride,
        .dropout = {dropout != NULL ? dropout[0] : 0, dropout != NULL ? dropout[1] : 0},
    };
    atr_status status = ATR_OK;

    ATR_TRY(check_info(info));
    snprintf(config.backbone, sizeof config.backbone, "%s", info->backbone);
    ATR_TRY(atr_model_build(&config, out));
done:
    return status;
}

atr_status atr_session_build(atr_session *session, const atr_model_info *info, const double *dropout)
{
    atr_status status = ATR_OK;

    drop_model(session);
    ATR_TRY(atr_session_graph(info, dropout, &session->graph));
    ATR_TRY(atr_params_create(atr_graph_param_specs(session->graph), atr_graph_param_count(session->graph),
                              atr_backend_allocator(session->backend), &session->params));
    session->info = *info;

done:
    return status;
}

/* `mapped`: values stay in the file; for one process. */
static atr_status load_from(atr_session *session, const atr_checkpoint_file *file, atr_status opened,
                            const double *dropout, bool mapped)
{
    atr_model_info *info = NULL;
    atr_status status = opened;

    if (status == ATR_OK)
        status = ATR_NEW(1, &info);
    ATR_TRY(atr_session_agree(session, status));
    if (is_root(session))
        *info = *atr_checkpoint_info(file);
    if (session->comm != NULL)
        ATR_TRY(atr_comm_broadcast(session->comm, info, sizeof *info, 0));
    status = atr_session_build(session, info, dropout);
    if (status == ATR_OK && is_root(session))
        status = mapped ? atr_checkpoint_map_params(file, session->params)
                        : atr_checkpoint_load_params(file, ATR_LOAD_STRICT, session->params, NULL);
    ATR_TRY(atr_session_agree(session, status));
    if (session->comm != NULL)
        ATR_TRY(atr_comm_broadcast_params(session->comm, session->params, 0));
    ATR_TRY(atr_session_load_quant(session, file));

done:
    atr_free(info);
    return status;
}

atr_status atr_session_load_from(atr_session *session, const atr_checkpoint_file *file, atr_status opened,
                                 const double *dropout)
{
    return load_from(session, file, opened, dropout, false);
}

static atr_status load(atr_session *session, const char *path, bool mapped)
{
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    if (is_root(session))
        status = atr_checkpoint_open(path, &file);
    status = load_from(session, file, status, NULL, mapped);
    atr_checkpoint_close(file);
    return status;
}

atr_status atr_session_load(atr_session *session, const char *path)
{
    return load(session, path, false);
}

atr_status atr_session_map(atr_session *session, const char *path)
{
    assert(session->comm == NULL);
    return load(session, path, true);
}

static int64_t trainable(const atr_params *params)
{
    int64_t sum = 0;

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        if (!atr_param_is_buffer(atr_params_spec(params, i)->kind))
            sum += atr_tensor_count(&value);
    }
    return sum;
}

char *atr_session_text(const atr_session *session, char *text)
{
    const atr_model_info *const info = &session->info;

    snprintf(text, ATR_SESSION_TEXT_BYTES, "%s %s, output stride %lld, %lld classes, %.2f M parameters",
             info->architecture, info->backbone, (long long)info->output_stride, (long long)info->classes,
             (double)trainable(session->params) / 1e6);
    return text;
}
