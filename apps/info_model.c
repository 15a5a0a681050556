/* `atrous info` of model files and checkpoints. */
#include <math.h>

#include "apps/info.h"
#include "apps/runlog.h"
#include "io/checkpoint.h"

static void append_classes(const atr_model_info *m, atr_text *out)
{
    bool named = false;

    atr_info_label(out, "classes");
    atr_text_append(out, "%lld", (long long)m->classes);
    for (int64_t k = 0; k < m->classes; k++) {
        if (m->class_names[k][0] == '\0')
            continue;
        atr_text_append(out, "%s%lld ", named ? ", " : ": ", (long long)k);
        atr_info_printable(out, m->class_names[k]);
        named = true;
    }
    atr_text_append(out, named ? "\n" : ", without names\n");
}

static void append_input(const atr_model_info *m, atr_text *out)
{
    atr_info_label(out, "input");
    atr_text_append(out, "%lld channels, ", (long long)m->channels);
    if (m->height > 0 && m->width > 0)
        atr_text_append(out, "%lldx%lld (height x width), ", (long long)m->height, (long long)m->width);
    atr_text_append(out, "fit %s, padded with %g\n", m->fit, m->pad_value);
    atr_info_label(out, "");
    atr_text_append(out, "value = sample * %.6g + %.6g in channel 0\n", m->scale[0], m->offset[0]);
}

static void append_state(const atr_checkpoint_file *file, const atr_train_state *s, atr_text *out)
{
    atr_info_label(out, "training");
    atr_text_append(
        out, "%lld epochs%s done, %lld steps; batch %lld on %lld rank%s, seed %llu, schedule %s%s\n",
        (long long)s->epoch, s->step_in_epoch > 0 ? " and a part" : "", (long long)s->global_step,
        (long long)s->global_batch, (long long)s->ranks, s->ranks == 1 ? "" : "s",
        (unsigned long long)s->seed, s->schedule, atr_checkpoint_has_optim(file) ? "; can be resumed" : "");
    if (atr_checkpoint_has_trained(file)) {
        atr_info_label(out, "weights");
        atr_text_append(out,
                        "average of the weights of %lld steps; those that training goes on from are beside\n",
                        (long long)s->average_steps);
    }
    atr_info_label(out, "best");
    if (isfinite(s->best_score))
        atr_text_append(out, "mIoU %.2f %% on val at epoch %lld\n", 100 * s->best_score,
                        (long long)s->best_epoch);
    else
        atr_text_append(out, "never evaluated\n");
    atr_info_label(out, "data");
    atr_text_append(out, "fingerprint %016llx\n", (unsigned long long)s->data_fingerprint);
    for (int64_t i = 0; i < s->extra_count; i++) {
        atr_info_label(out, i == 0 ? "notes" : "");
        atr_info_printable(out, s->extras[i].key);
        atr_text_append(out, " = ");
        atr_info_printable(out, s->extras[i].value);
        atr_text_append(out, "\n");
    }
}

static void append_quant(const atr_quant *quant, atr_text *out)
{
    if (quant->weights.count == 0)
        return;
    atr_info_label(out, "int8");
    atr_text_append(out, "%lld layers, %lld activations\n", (long long)quant->weights.count,
                    (long long)quant->activations.count);
}

static void append_text(const atr_checkpoint_file *file, const atr_train_state *state, const atr_quant *quant,
                        const atr_info_request *request, atr_text *out)
{
    const atr_model_info *m = atr_checkpoint_info(file);

    atr_text_append(out, "%s: %s, ", request->path, state != NULL ? "checkpoint" : "model");
    atr_info_bytes(out, request->bytes);
    atr_text_append(out, "\n");
    atr_info_label(out, "network");
    atr_info_printable(out, m->architecture);
    atr_text_append(out, " ");
    atr_info_printable(out, m->backbone);
    atr_text_append(out, ", output stride %lld\n", (long long)m->output_stride);
    append_classes(m, out);
    append_input(m, out);
    append_quant(quant, out);
    if (state != NULL)
        append_state(file, state, out);
}

static void append_json_model(const atr_model_info *m, atr_text *out)
{
    atr_text_append(out, ",\"architecture\":");
    atr_json_string(out, m->architecture);
    atr_text_append(out, ",\"backbone\":");
    atr_json_string(out, m->backbone);
    atr_text_append(out, ",\"output_stride\":%lld,\"classes\":%lld,\"class_names\":[",
                    (long long)m->output_stride, (long long)m->classes);
    for (int64_t k = 0; k < m->classes; k++) {
        atr_text_append(out, k == 0 ? "" : ",");
        atr_json_string(out, m->class_names[k]);
    }
    atr_text_append(out,
                    "],\"channels\":%lld,\"height\":%lld,\"width\":%lld,\"fit\":", (long long)m->channels,
                    (long long)m->height, (long long)m->width);
    atr_json_string(out, m->fit);
    atr_text_append(out, ",\"pad_value\":");
    atr_json_real(out, m->pad_value);
    atr_text_append(out, ",\"scale\":");
    atr_json_reals(out, m->scale, m->channels);
    atr_text_append(out, ",\"offset\":");
    atr_json_reals(out, m->offset, m->channels);
}

static void append_json_state(const atr_checkpoint_file *file, const atr_train_state *s, atr_text *out)
{
    if (s == NULL) {
        atr_text_append(out, "null");
        return;
    }
    atr_text_append(out,
                    "{\"epoch\":%lld,\"step_in_epoch\":%lld,\"step\":%lld,\"batch\":%lld,\"ranks\":%lld,"
                    "\"seed\":%llu,\"resumable\":%s,\"best_miou\":",
                    (long long)s->epoch, (long long)s->step_in_epoch, (long long)s->global_step,
                    (long long)s->global_batch, (long long)s->ranks, (unsigned long long)s->seed,
                    atr_checkpoint_has_optim(file) ? "true" : "false");
    atr_json_real(out, s->best_score);
    atr_text_append(out, ",\"best_epoch\":%lld,\"data_fingerprint\":\"%016llx\",\"schedule\":",
                    (long long)s->best_epoch, (unsigned long long)s->data_fingerprint);
    atr_json_string(out, s->schedule);
    atr_text_append(out, ",\"notes\":{");
    for (int64_t i = 0; i < s->extra_count; i++) {
        atr_text_append(out, i == 0 ? "" : ",");
        atr_json_string(out, s->extras[i].key);
        atr_text_append(out, ":");
        atr_json_string(out, s->extras[i].value);
    }
    atr_text_append(out, "},\"config\":");
    atr_json_string(out, s->config != NULL ? s->config : "");
    atr_text_append(out, "}");
}

static void append_json(const atr_checkpoint_file *file, const atr_train_state *state, const atr_quant *quant,
                        const atr_info_request *request, atr_text *out)
{
    atr_text_append(out, "{\"kind\":\"%s\",\"path\":", state != NULL ? "checkpoint" : "model");
    atr_json_string(out, request->path);
    atr_text_append(out, ",\"bytes\":%lld", (long long)request->bytes);
    append_json_model(atr_checkpoint_info(file), out);
    atr_text_append(out, ",\"int8_layers\":%lld,\"training\":", (long long)quant->weights.count);
    append_json_state(file, state, out);
    atr_text_append(out, ",");
}

atr_status atr_info_model(const atr_info_request *request, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_checkpoint_file *file = NULL;
    atr_weights *weights = NULL;
    atr_train_state state = {0};
    atr_quant quant = {{0}, {0}};

    ATR_TRY(atr_checkpoint_open(request->path, &file));
    ATR_TRY(atr_checkpoint_weights(file, &weights));
    if (atr_checkpoint_has_quant(file))
        ATR_TRY(atr_checkpoint_load_quant(file, &quant));
    const bool trained = atr_checkpoint_has_state(file);
    if (trained)
        ATR_TRY(atr_checkpoint_load_state(file, &state));
    if (request->json)
        append_json(file, trained ? &state : NULL, &quant, request, out);
    else
        append_text(file, trained ? &state : NULL, &quant, request, out);
    atr_info_tensors(weights, request, out);
    if (request->layers)
        ATR_TRY(atr_info_layers(atr_checkpoint_info(file), request, out));
    if (request->json)
        atr_text_append(out, "}\n");
done:
    atr_quant_free(&quant);
    atr_train_state_free(&state);
    atr_weights_destroy(weights);
    atr_checkpoint_close(file);
    return status;
}
