#include "io/pack.h"

#include <string.h>
#include <unistd.h>

#include "io/pack_impl.h"
#include "io/path.h"

const char *atr_pack_target(const atr_pack_config *config)
{
    return config->output != NULL ? config->output : config->to_voc;
}

static atr_status check_file(const atr_pack_config *config)
{
    if (config->output == NULL)
        return ATR_OK;
    if (atr_pack_is_sharded(config))
        return atr_pack_shards_check(config);
    if (atr_path_is_folder(config->output))
        return atr_fail(ATR_ERR_USAGE, "%s: a folder; name the file to write, such as %s/data.h5",
                        config->output, config->output);
    if (atr_path_exists(config->output) && !config->force)
        return atr_fail(ATR_ERR_USAGE, "%s: exists; give --force to replace it, or another name",
                        config->output);
    return ATR_OK;
}

static atr_status check_folder(const atr_pack_config *config)
{
    if (config->to_voc == NULL || !atr_path_exists(config->to_voc))
        return ATR_OK;
    if (!atr_path_is_folder(config->to_voc))
        return atr_fail(ATR_ERR_USAGE, "--to-voc %s: not a folder", config->to_voc);
    if (!config->force && !atr_path_is_empty_folder(config->to_voc))
        return atr_fail(
            ATR_ERR_USAGE,
            "--to-voc %s: the folder is not empty; name another one, or give --force to write into "
            "it (files of the same names are replaced)",
            config->to_voc);
    return ATR_OK;
}

static atr_status check_config(const atr_pack_config *config)
{
    atr_status status = ATR_OK;

    if (config->group_regex != NULL && config->split == NULL)
        return atr_fail(ATR_ERR_USAGE,
                        "--group-regex works with --split only; lists already say where each name goes");
    if (config->shards > 0 && config->shard_bytes > 0)
        return atr_fail(ATR_ERR_USAGE, "--shards says how many files, --shard-size how large: choose one");
    if (config->output == NULL && config->to_voc == NULL)
        return atr_fail(ATR_ERR_USAGE, "neither a data set file nor a folder to write is named");
    ATR_TRY(check_file(config));
    ATR_TRY(check_folder(config));

done:
    return status;
}

static atr_status find_samples(atr_pack_job *job)
{
    const atr_pack_config *config = job->config;
    atr_status status = ATR_OK;
    atr_split_rule *rule = NULL;

    if (config->split != NULL)
        ATR_TRY(atr_split_rule_create(config->split, config->group_regex, config->seed, &rule));
    job->source_config = (atr_source_config){.folder = config->source,
                                             .format = config->format,
                                             .rule = rule,
                                             .classes = &job->classes,
                                             .classes_file = atr_path_base(config->classes),
                                             .rules = &config->labels,
                                             .colours = config->colours != NULL ? &job->colours : NULL,
                                             .missing = config->missing,
                                             .threads = config->threads,
                                             .watch = job->watch};
    ATR_TRY(atr_source_scan(&job->source_config, job->findings, &job->source));

done:
    job->source_config.rule = NULL; /* the samples carry their splits now */
    atr_split_rule_destroy(rule);
    return status;
}

/* Stored values to ids, as the options say; and the ids that readers make of names and colours, as they are. */
static atr_status build_maps(atr_pack_job *job)
{
    const atr_label_rules none = {0};
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &job->map));
    ATR_TRY(ATR_NEW(1, &job->id_map));
    ATR_TRY(atr_label_map_build(&job->classes, &none, job->id_map));
    ATR_TRY(atr_label_map_build(&job->classes, job->source.format->named ? &none : &job->config->labels,
                                job->map));

done:
    return status;
}

/* The palette of the masks: VOC's, or the colours that the user's masks have. */
static void choose_palette(atr_pack_job *job)
{
    atr_palette_voc(job->index.palette);
    for (int64_t i = job->colours.count - 1; i >= 0; i--) /* of several colours of a class, the first */
        memcpy(job->index.palette[job->colours.rows[i].id], job->colours.rows[i].rgb, 3);
}

static atr_status read_colours(atr_pack_job *job)
{
    const atr_pack_config *config = job->config;
    atr_status status = ATR_OK;

    if (config->colours == NULL && config->colour_tolerance > 0)
        return atr_fail(ATR_ERR_USAGE, "--color-tolerance works with --colors FILE, which says the colours");
    if (config->colours != NULL)
        ATR_TRY(atr_colour_table_read(config->colours, &job->classes, &job->colours));
    job->colours.tolerance = config->colour_tolerance;

done:
    return status;
}

/* Sets up the index: its arrays, classes and palette. */
static atr_status prepare_index(atr_pack_job *job)
{
    const atr_exif_rule exif = job->config->exif;
    atr_status status = ATR_OK;

    ATR_TRY(atr_dataset_index_create(job->source.count, &job->index));
    choose_palette(job);
    if (job->config->output != NULL && atr_pack_is_sharded(job->config))
        ATR_TRY(ATR_NEW(job->source.count, &job->counted));
    job->index.apply_exif = exif == ATR_EXIF_APPLY || (exif == ATR_EXIF_ASK && job->source.format->turned);

done:
    return status;
}

/* Ends with ATR_ERR_DATA if there is an error among the findings. */
static atr_status refuse_errors(const atr_pack_job *job)
{
    const int64_t errors = atr_findings_of_severity(job->findings, ATR_ERROR);

    if (errors == 0 && job->source.count > 0)
        return ATR_OK;
    if (errors == 0)
        return atr_fail(ATR_ERR_DATA, "%s: no picture with a mask is left; nothing is written",
                        job->source.root);
    return atr_fail(ATR_ERR_DATA, "%lld finding%s must be repaired first; %s is not written",
                    (long long)errors, errors == 1 ? "" : "s", atr_pack_target(job->config));
}

static void summarise(const atr_pack_job *job, atr_pack_result *result)
{
    result->samples = job->index.count;
    result->unlisted = job->source.unlisted;
    for (int64_t i = 0; i < job->index.count; i++)
        for (int split = 0; split < ATR_SPLITS; split++)
            result->members[split] += job->index.splits[i] >> split & 1;
}

static void job_free(atr_pack_job *job)
{
    if (job->spool >= 0)
        close(job->spool);
    atr_pack_shards_free(job);
    job->index.classes = (atr_class_list){0}; /* borrowed from job->classes */
    atr_dataset_index_free(&job->index);
    atr_source_free(&job->source);
    atr_class_list_free(&job->classes);
    atr_colour_table_free(&job->colours);
    atr_free(job->map);
    atr_free(job->id_map);
}

atr_status atr_pack(const atr_pack_config *config, const atr_watch *watch, atr_findings *findings,
                    atr_pack_result *result)
{
    atr_status status = ATR_OK;
    atr_pack_job job = {.config = config, .watch = watch, .findings = findings, .spool = -1};

    *result = (atr_pack_result){0};
    ATR_TRY(check_config(config));
    ATR_TRY(atr_class_list_read(config->classes, &job.classes));
    ATR_TRY(read_colours(&job));
    ATR_TRY(find_samples(&job));
    ATR_TRY(build_maps(&job));
    ATR_TRY(prepare_index(&job));
    ATR_TRY(atr_pack_gate(&job));
    if (job.index.count > 0)
        ATR_TRY(atr_pack_judge(&job));
    if (config->strict)
        atr_findings_be_strict(findings);
    summarise(&job, result);
    ATR_TRY(refuse_errors(&job));
    atr_pack_moments(&job.sums, &job.index.stats);
    job.index.classes = job.classes;
    job.index.fingerprint = atr_dataset_index_fingerprint(&job.index);
    if (config->to_voc != NULL)
        ATR_TRY(atr_pack_write_voc(&job));
    if (config->output != NULL)
        ATR_TRY(atr_pack_write(&job, &result->bytes, &result->shards));

done:
    job_free(&job);
    return status;
}
