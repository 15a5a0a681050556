#include "apps/train_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

static const char *const optimizers[] = {"sgd", "adam", "adamw", NULL};
static const char *const schedules[] = {"cos", "step", "poly", NULL};
static const char *const inits[] = {"normal", "xavier", "kaiming", "orthogonal", NULL};
static const char *const frozen_norms[] = {"running", "batch", NULL};
static const char *const compats[] = {"none", "reference", NULL};

#define FIELD(member) .offset = offsetof(atr_train_options, member)
#define MANY          INFINITY /* a bound where any count will do */

/* clang-format off */
static const atr_option rows[] = {
    {.name = "output", .letter = 'o', .kind = ATR_OPTION_STRING, FIELD(out), .argument = "RUN", .once = true,
     .group = "Run",
     .help = "folder of the run: config.yaml, log.jsonl, last.h5, best.h5, curves, event files"},
    {.name = "recipe", .kind = ATR_OPTION_STRING, FIELD(recipe), .argument = "FILE", .once = true,
     .help = "options in YAML; the command line wins"},
    {.name = "resume", .kind = ATR_OPTION_FLAG, FIELD(resume), .once = true,
     .help = "go on where RUN stopped, exactly; its config.yaml is the recipe"},
    {.name = "force", .kind = ATR_OPTION_FLAG, FIELD(force), .once = true,
     .help = "start over in an existing RUN"},
    {.name = "stage", .kind = ATR_OPTION_STRING, FIELD(stage), .argument = "DIR", .once = true,
     .help = "copy the data set to this folder of each node (a local disk, /dev/shm) and read it there; a good copy is found again"},
    {.name = "stop-after", .kind = ATR_OPTION_INT, FIELD(stop_after), .value = "0", .least = 0,
     .most = MANY, .once = true,
     .help = "save and stop (exit 75) when this many steps are done; 0: never"},
    {.name = "max-time", .kind = ATR_OPTION_STRING, FIELD(max_time), .value = "auto", .argument = "TIME", .once = true,
     .help = "save and stop (exit 75) in time for this run time: 90m, 1:30:00, seconds; 0: no limit; auto: as Slurm says"},
    {.name = "stall-timeout", .kind = ATR_OPTION_REAL, FIELD(stall_timeout), .value = "1800", .least = 0, .most = 1e9,
     .argument = "SECONDS",
     .help = "end the job, with the names of the late ranks, when nothing has moved for so long; 0: wait for ever"},
    {.name = "lost-timeout", .kind = ATR_OPTION_REAL, FIELD(lost_timeout), .value = "6", .least = 0, .most = 1e9,
     .argument = "SECONDS",
     .help = "end the job, with its name, when a node has not answered for so long (down, or cut off); 0: never"},
    {.name = "log-interval", .kind = ATR_OPTION_INT, FIELD(log_interval), .value = "10", .least = 1,
     .most = MANY,
     .help = "steps between lines on the output where it is no terminal"},
    {.name = "log-samples", .kind = ATR_OPTION_FLAG, FIELD(log_samples),
     .help = "log.jsonl lists each step's samples, by their numbers in the data set"},
    {.name = "save-period", .kind = ATR_OPTION_INT, FIELD(save_period), .value = "1", .least = 1,
     .most = MANY,
     .help = "epochs between checkpoints"},
    {.name = "save-steps", .kind = ATR_OPTION_INT, FIELD(save_steps), .value = "0", .least = 0, .most = MANY,
     .help = "steps between further checkpoints within an epoch; 0: none"},
    {.name = "async-save", .kind = ATR_OPTION_FLAG, FIELD(async_save), .value = "true",
     .help = "checkpoints are written while training goes on, from a copy in memory"},
    {.name = "eval-period", .kind = ATR_OPTION_INT, FIELD(eval_period), .value = "5", .least = 0,
     .most = MANY,
     .help = "epochs between evaluations on val (and after the last); 0: none"},
    {.name = "target-miou", .kind = ATR_OPTION_REAL, FIELD(target_miou), .value = "0", .least = 0, .most = 1,
     .help = "end the run when an evaluation reaches this mIoU (0.8 is 80 %); 0: never"},
    {.name = "eval-fit", .kind = ATR_OPTION_CHOICE, FIELD(eval_fit), .value = "letterbox", .choices = atr_fit_mode_names,
     .help = "how evaluation brings a picture to the network's size; none: it runs at its own"},

    {.name = "curves", .kind = ATR_OPTION_FLAG, FIELD(curves), .value = "true", .group = "Watching",
     .help = "epoch_loss.png and epoch_miou.png in RUN, drawn by gnuplot beside the training"},
    {.name = "tensorboard", .kind = ATR_OPTION_FLAG, FIELD(tensorboard), .value = "true",
     .help = "event files in RUN for `tensorboard --logdir RUN`"},
    {.name = "tensorboard-images", .kind = ATR_OPTION_INT, FIELD(tensorboard_images), .value = "4",
     .least = 0, .most = 1000,
     .help = "val pictures with truth and prediction in them at each evaluation"},
    {.name = "tensorboard-histograms", .kind = ATR_OPTION_FLAG, FIELD(tensorboard_histograms),
     .help = "also how values and gradients of each parameter are distributed, after each epoch"},

    {.name = "backbone", .kind = ATR_OPTION_STRING, FIELD(backbone), .value = "mobilenetv2",
     .argument = "NAME",
     .help = "feature extractor: mobilenetv2 or xception; a wrong name lists those there are", .group = "Model"},
    {.name = "output-stride", .kind = ATR_OPTION_INT, FIELD(output_stride), .value = "16", .least = 8,
     .most = 16,
     .help = "8 (finer, slower) or 16"},
    {.name = "size", .kind = ATR_OPTION_STRING, FIELD(size), .value = "512", .argument = "H[xW]",
     .help = "network's input"},
    {.name = "dropout", .kind = ATR_OPTION_LIST, FIELD(dropout), .value = "0.5,0.1", .argument = "P,P",
     .help = "behind the two decoder convolutions"},
    {.name = "weights", .kind = ATR_OPTION_STRING, FIELD(weights), .argument = "FILE",
     .help = "start from a .pth, .safetensors or .h5 file, by name and shape"},
    {.name = "new-head", .kind = ATR_OPTION_FLAG, FIELD(new_head),
     .help = "with --weights: the classifier starts fresh"},
    {.name = "backbone-only", .kind = ATR_OPTION_FLAG, FIELD(backbone_only),
     .help = "with --weights: only the backbone is loaded, from a whole network or a backbone alone"},
    {.name = "init", .kind = ATR_OPTION_CHOICE, FIELD(init), .value = "normal", .choices = inits,
     .help = "distribution of new convolution weights"},
    {.name = "init-gain", .kind = ATR_OPTION_REAL, FIELD(init_gain), .value = "0.02", .least = 1e-12,
     .most = 1e6,
     .help = "its gain (normal: standard deviation; kaiming has none)"},
    {.name = "freeze-bn", .kind = ATR_OPTION_FLAG, FIELD(freeze_norm),
     .help = "batch norms keep their running statistics"},
    {.name = "sync-bn", .kind = ATR_OPTION_FLAG, FIELD(sync_norm),
     .help = "batch norms take the statistics of all ranks' pictures, as one rank with the whole batch does"},
    {.name = "bn-group", .kind = ATR_OPTION_INT, FIELD(norm_ranks), .value = "1", .least = 1, .most = 1e6,
     .help = "batch norms take the statistics of so many neighbouring ranks"},
    {.name = "freeze-epochs", .kind = ATR_OPTION_INT, FIELD(freeze_epochs), .value = "0", .least = 0, .most = 1e9,
     .help = "first epochs in which the backbone stays as it is; for a network that --weights brought"},
    {.name = "freeze-batch", .kind = ATR_OPTION_INT, FIELD(freeze_batch), .value = "0", .least = 0, .most = 1e6,
     .help = "samples per step in these epochs; 0: as --batch"},
    {.name = "frozen-norm", .kind = ATR_OPTION_CHOICE, FIELD(frozen_norm), .value = "running",
     .choices = frozen_norms,
     .help = "statistics of the frozen backbone's batch norms: running (kept), or batch as in the reference"},

    {.name = "batch", .kind = ATR_OPTION_INT, FIELD(batch), .value = "8", .least = 1, .most = 1e6,
     .help = "samples per step over all ranks", .group = "Training"},
    {.name = "accumulate", .kind = ATR_OPTION_INT, FIELD(accumulate), .value = "1", .least = 1, .most = 1e6,
     .help = "compute each rank's share of the batch in so many parts: less memory, the same gradient"},
    {.name = "recompute", .kind = ATR_OPTION_FLAG, FIELD(recompute),
     .help = "drop activations after forward and make them again for backward: less memory, more time, the same bits"},
    {.name = "epochs", .kind = ATR_OPTION_INT, FIELD(epochs), .value = "100", .least = 1, .most = 1e9,
     .help = "passes over the train split"},
    {.name = "max-steps", .kind = ATR_OPTION_INT, FIELD(max_steps), .value = "0", .least = 0, .most = MANY,
     .help = "end after this many steps if the epochs do not end before; 0: no limit"},
    {.name = "optimizer", .kind = ATR_OPTION_CHOICE, FIELD(optimizer), .value = "sgd",
     .choices = optimizers,
     .help = "update rule"},
    {.name = "lr", .kind = ATR_OPTION_REAL, FIELD(lr), .value = "7e-3", .least = 1e-12, .most = MANY,
     .help = "largest learning rate, at batch 16 (see --fit-lr)"},
    {.name = "min-lr", .kind = ATR_OPTION_REAL, FIELD(min_lr), .least = 0, .most = MANY,
     .help = "smallest one; 1 % of --lr unless given"},
    {.name = "fit-lr", .kind = ATR_OPTION_FLAG, FIELD(fit_lr), .value = "true",
     .help = "scale both by batch / 16, within the reference's limits"},
    {.name = "schedule", .kind = ATR_OPTION_CHOICE, FIELD(schedule), .value = "cos", .choices = schedules,
     .help = "how the rate falls over the epochs"},
    {.name = "power", .kind = ATR_OPTION_REAL, FIELD(power), .value = "0.9", .least = 0.01, .most = 100,
     .help = "of schedule poly"},
    {.name = "warmup", .kind = ATR_OPTION_REAL, FIELD(warmup), .least = 0, .most = 1e9, .argument = "EPOCHS",
     .help = "epochs in which the rate rises to it; unless given, cos has up to 3, the others none"},
    {.name = "momentum", .kind = ATR_OPTION_REAL, FIELD(momentum), .value = "0.9", .least = 0,
     .most = 0.999999,
     .help = "of SGD; beta1 of Adam and AdamW"},
    {.name = "nesterov", .kind = ATR_OPTION_FLAG, FIELD(nesterov), .value = "true",
     .help = "Nesterov's form of momentum (SGD)"},
    {.name = "weight-decay", .kind = ATR_OPTION_REAL, FIELD(weight_decay), .value = "1e-4", .least = 0,
     .most = 1e3,
     .help = "L2 term on all parameters (0 is better for Adam); of AdamW: decoupled"},
    {.name = "clip", .kind = ATR_OPTION_REAL, FIELD(clip), .value = "0", .least = 0, .most = MANY,
     .help = "scale gradients down to this norm over all parameters where they exceed it; 0: never"},
    {.name = "ema", .kind = ATR_OPTION_REAL, FIELD(ema), .value = "0", .least = 0, .most = 0.999999999,
     .argument = "DECAY",
     .help = "average the weights over the steps (0.999); evaluated and saved in their place; 0: off"},
    {.name = "seed", .kind = ATR_OPTION_INT, FIELD(seed), .value = "11", .least = 0, .most = MANY,
     .help = "of weights, shuffling, augmentation, dropout"},
    {.name = "compat", .kind = ATR_OPTION_CHOICE, FIELD(compat), .value = "none", .choices = compats,
     .help = "reference: padding is class 0, losses count ignored pixels, and what does not fill a batch is left out"},
    {.name = "jpeg-scale", .kind = ATR_OPTION_FLAG, FIELD(jpeg_scale),
     .help = "decode a JPEG at a half, quarter or eighth where augmentation shrinks it at least as much: less work with large "
             "photographs, pixels slightly different"},
    {.name = "loader-threads", .kind = ATR_OPTION_INT, FIELD(loader_threads), .value = "0", .least = 0,
     .most = 256,
     .help = "threads that prepare samples, in the gaps that training leaves; 0: by the CPUs given"},
    {.name = NULL},
};
/* clang-format on */

struct atr_train_table {
    atr_option augment[ATR_AUGMENT_KINDS + 1];
    char names[ATR_AUGMENT_KINDS][32];
    char values[ATR_AUGMENT_KINDS][96];
    char help[ATR_AUGMENT_KINDS][160];
};

/* The option of one kind of augmentation: `augment-hsv`, its numbers as a list. */
static void fill_augment_row(atr_train_table *table, int kind)
{
    const atr_augment_row *const from = &atr_augment_rows[kind];
    char number[ATR_REAL_TEXT_BYTES];
    char *const value = table->values[kind];

    snprintf(table->names[kind], sizeof table->names[kind], "augment-%s", from->name);
    snprintf(table->help[kind], sizeof table->help[kind], "%s; 0: off", from->help);
    for (int i = 0; i < from->count; i++) {
        const size_t used = strlen(value);
        snprintf(value + used, sizeof table->values[kind] - used, "%s%s", i > 0 ? "," : "",
                 atr_real_text(from->value[i].initial, number));
    }
    table->augment[kind] = (atr_option){
        .name = table->names[kind],
        .kind = ATR_OPTION_LIST,
        .offset = offsetof(atr_train_options, augment) + (size_t)kind * sizeof(atr_list),
        .value = value,
        .argument = from->count > 1 ? "X,..." : "X",
        .help = table->help[kind],
        .group = kind == 0 ? "Augmentation" : NULL,
    };
}

atr_status atr_train_table_create(atr_train_table **out)
{
    const atr_status status = ATR_NEW(1, out);

    for (int k = 0; status == ATR_OK && k < ATR_AUGMENT_KINDS; k++)
        fill_augment_row(*out, k);
    return status;
}

void atr_train_table_destroy(atr_train_table *table)
{
    atr_free(table);
}

atr_status atr_train_table_add(const atr_train_table *table, atr_options *options, atr_train_options *target)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_options_add(options, rows, target));
    ATR_TRY(atr_options_add(options, atr_loss_rows, &target->loss));
    ATR_TRY(atr_options_add(options, table->augment, target));
    ATR_TRY(atr_options_add(options, atr_reducer_rows, &target->reducer));
    ATR_TRY(atr_options_add(options, atr_session_rows, &target->session));

done:
    return status;
}

atr_status atr_size_parse(const char *text, int64_t *height, int64_t *width)
{
    enum { LARGEST = 1 << 16 };
    long long h = 0, w = 0;
    int end = 0;

    if (sscanf(text, "%5lldx%5lld%n", &h, &w, &end) == 2 && text[end] == '\0') {
        *height = h;
        *width = w;
    } else if (sscanf(text, "%5lld%n", &h, &end) == 1 && text[end] == '\0') {
        *height = *width = h;
    } else {
        return atr_fail(ATR_ERR_USAGE, "size '%.40s': wanted a number, or HEIGHTxWIDTH such as 512x384",
                        text);
    }
    if (*height < 1 || *width < 1 || *height > LARGEST || *width > LARGEST)
        return atr_fail(ATR_ERR_USAGE, "size '%.40s': each side must lie between 1 and %d", text, LARGEST);
    return ATR_OK;
}

static atr_status numbers(const char *name, const atr_list *list, int most, double *out)
{
    if (list->count > most)
        return atr_fail(ATR_ERR_USAGE, "--%s: %lld numbers, at most %d are wanted", name,
                        (long long)list->count, most);
    for (int64_t i = 0; i < list->count; i++)
        if (!atr_parse_real(list->items[i], &out[i]))
            return atr_fail(ATR_ERR_USAGE, "--%s: '%.40s' is no number", name, list->items[i]);
    return ATR_OK;
}

static atr_status read_augment(const atr_train_options *options, atr_augment *out)
{
    atr_status status = ATR_OK;

    atr_augment_defaults(out);
    for (int k = 0; k < ATR_AUGMENT_KINDS; k++) {
        double values[ATR_AUGMENT_VALUES] = {0};
        ATR_TRY(numbers(atr_augment_rows[k].name, &options->augment[k], ATR_AUGMENT_VALUES, values));
        if (options->augment[k].count > 0)
            ATR_TRY(atr_augment_set(out, atr_augment_rows[k].name, values, (int)options->augment[k].count));
    }

done:
    return status;
}

static atr_status read_dropout(const atr_train_options *options, double *out)
{
    const atr_status status = numbers("dropout", &options->dropout, 2, out);

    if (status != ATR_OK)
        return status;
    for (int i = 0; i < 2; i++)
        if (!(out[i] >= 0 && out[i] < 1))
            return atr_fail(ATR_ERR_USAGE, "--dropout: %g must be at least 0 and less than 1", out[i]);
    return ATR_OK;
}

/* Rates and batch of one phase. The reference's schedule runs over all epochs and takes the rates of the batch at hand. */
static atr_status read_phase(const atr_options *parsed, const atr_train_options *options, bool frozen,
                             atr_train_phase *out)
{
    const bool given = !atr_options_unset(parsed, atr_options_find(parsed, "min-lr"));
    double lr = options->lr, least = given ? options->min_lr : 0.01 * options->lr;

    out->frozen = frozen;
    out->first = frozen ? 0 : options->freeze_epochs;
    out->end = frozen && options->freeze_epochs < options->epochs ? options->freeze_epochs : options->epochs;
    out->batch = frozen && options->freeze_batch > 0 ? options->freeze_batch : options->batch;
    if (options->fit_lr)
        atr_schedule_fit((atr_optim_kind)options->optimizer, options->backbone, out->batch, lr, least, &lr,
                         &least);
    out->schedule = (atr_schedule){
        .kind = (atr_schedule_kind)options->schedule,
        .lr = lr,
        .min_lr = least,
        .epochs = options->epochs,
        .power = options->power,
        .own_warmup = !atr_options_unset(parsed, atr_options_find(parsed, "warmup")),
        .warmup = options->warmup,
    };
    return atr_schedule_check(&out->schedule);
}

static atr_status read_phases(const atr_options *parsed, const atr_train_options *options,
                              atr_train_config *out)
{
    atr_status status = ATR_OK;

    if (options->freeze_epochs > 0)
        ATR_TRY(read_phase(parsed, options, true, &out->phases[out->phase_count++]));
    if (options->freeze_epochs < options->epochs)
        ATR_TRY(read_phase(parsed, options, false, &out->phases[out->phase_count++]));

done:
    return status;
}

const atr_train_phase *atr_train_phase_at(const atr_train_config *config, int64_t epoch)
{
    int phase = 0;

    while (phase + 1 < config->phase_count && epoch >= config->phases[phase].end)
        phase++;
    return &config->phases[phase];
}

static atr_optim_config optim_config(const atr_train_options *options)
{
    return (atr_optim_config){
        .kind = (atr_optim_kind)options->optimizer,
        .momentum = options->momentum,
        .beta2 = 0.999,
        .eps = 1e-8,
        .weight_decay = options->weight_decay,
        .nesterov = options->nesterov,
    };
}

static atr_status read_norm_ranks(const atr_train_options *options, int64_t *out)
{
    if (options->sync_norm && options->norm_ranks > 1)
        return atr_fail(ATR_ERR_USAGE, "--sync-bn takes all ranks and --bn-group some: choose one");
    if (options->freeze_norm && (options->sync_norm || options->norm_ranks > 1))
        return atr_fail(
            ATR_ERR_USAGE,
            "--freeze-bn keeps the running statistics, so ranks have none to share by --%s: choose one",
            options->sync_norm ? "sync-bn" : "bn-group");
    *out = options->sync_norm ? INT64_MAX : options->norm_ranks;
    return ATR_OK;
}

atr_status atr_train_config_from(const atr_options *parsed, const atr_train_options *options,
                                 atr_train_config *out)
{
    atr_status status = ATR_OK;

    memset(out, 0, sizeof *out);
    if (options->resume && options->force)
        return atr_fail(ATR_ERR_USAGE, "--resume goes on and --force starts over: choose one");
    if (options->weights == NULL && (options->new_head || options->backbone_only))
        return atr_fail(ATR_ERR_USAGE, "--%s says what to take of a weight file: name it by --weights FILE",
                        options->new_head ? "new-head" : "backbone-only");
    if (options->output_stride != 8 && options->output_stride != 16)
        return atr_fail(ATR_ERR_USAGE, "--output-stride: %lld is neither 8 nor 16",
                        (long long)options->output_stride);
    if (options->target_miou > 0 && options->eval_period == 0)
        return atr_fail(ATR_ERR_USAGE, "--target-miou needs evaluations, and --eval-period 0 makes none");
    if (options->session.precision == ATR_PRECISION_INT8)
        return atr_fail(ATR_ERR_USAGE, "--precision int8 is for prediction");
    ATR_TRY(read_norm_ranks(options, &out->norm_ranks));
    ATR_TRY(atr_size_parse(options->size, &out->height, &out->width));
    ATR_TRY(read_dropout(options, out->dropout));
    ATR_TRY(
        atr_loss_config_from(parsed, &options->loss, options->compat == ATR_COMPAT_REFERENCE, &out->loss));
    out->optim = optim_config(options);
    ATR_TRY(read_phases(parsed, options, out));
    ATR_TRY(read_augment(options, &out->augment));
    out->drop_last = options->compat == ATR_COMPAT_REFERENCE;
    out->padding = options->compat == ATR_COMPAT_REFERENCE ? 0 : 255;
    out->augment.padding = out->padding;

done:
    return status;
}
