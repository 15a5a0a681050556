/* atrous doctor: what this machine and this build can do, and whether files are sound. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/cli.h"
#include "apps/doctor.h"
#include "apps/info.h"
#include "core/cpu.h"
#include "core/threads.h"
#include "dnn/backend.h"
#include "dnn/cpu/onednn.h"
#include "io/dataset.h"
#include "io/path.h"
#include "io/volume.h"

/* ATR_ISA with a name that does not exist is the user's fault: the only finding about instructions. */
static int64_t say_instructions(void)
{
    const atr_isa detected = atr_isa_detected(), used = atr_isa_level();
    char text[128];

    if (detected == used)
        snprintf(text, sizeof text, "%s", atr_isa_name(used));
    else
        snprintf(text, sizeof text, "%s (the machine has %s; ATR_ISA caps it)", atr_isa_name(used),
                 atr_isa_name(detected));
    atr_doctor_say("instructions", text);
    if (atr_isa_check() == ATR_OK)
        return 0;
    atr_cli_error("doctor", atr_status_message());
    return 1;
}

static int64_t say_backend(const char *name, int threads)
{
    atr_backend *backend = NULL;
    char text[256];
    const atr_status status = atr_backend_open(name, threads, &backend);

    if (status == ATR_OK)
        snprintf(text, sizeof text, "%s: %s", name, backend->table->summary);
    else
        snprintf(text, sizeof text, "%s: cannot be opened: %s", name, atr_status_message());
    atr_doctor_say("back end", text);
    atr_backend_close(backend);
    return status != ATR_OK;
}

static int64_t say_backends(int threads)
{
    char names[256], *rest = NULL;
    int64_t faults = 0;

    snprintf(names, sizeof names, "%s", atr_backend_names());
    for (char *name = strtok_r(names, ", ", &rest); name != NULL; name = strtok_r(NULL, ", ", &rest))
        faults += say_backend(name, threads);
    return faults;
}

/* Whether a program lies on $PATH. */
static bool on_path(const char *program)
{
    const char *folder = getenv("PATH");

    while (folder != NULL && *folder != '\0') {
        char path[4096];
        const int length = (int)strcspn(folder, ":");
        const int wrote = snprintf(path, sizeof path, "%.*s/%s", length, folder, program);
        if (wrote < (int)sizeof path && access(path, X_OK) == 0)
            return true;
        folder += length + (folder[length] == ':');
    }
    return false;
}

/* Everything in a data set is read and decoded. */
static atr_status check_dataset(const char *path, int threads)
{
    atr_status status = ATR_OK;
    atr_dataset *dataset = NULL;
    atr_findings *findings = NULL;
    char *text = NULL;

    ATR_TRY(atr_dataset_open(path, &dataset));
    ATR_TRY(atr_findings_create(&findings));
    ATR_TRY(atr_dataset_verify(dataset, threads, NULL, findings));
    if (atr_findings_count(findings) > 0) {
        ATR_TRY(atr_findings_text(findings, 5, NULL, &text));
        status = atr_fail(ATR_ERR_DATA, "%s is damaged:\n%s", path, text);
    } else {
        printf("%s: data set, all %lld samples are sound\n", path, (long long)atr_dataset_count(dataset));
    }
done:
    atr_free(text);
    atr_findings_destroy(findings);
    atr_dataset_close(dataset);
    return status;
}

static atr_status check_file(const char *path, int threads)
{
    static const char *const names[] = {
        [ATR_FILE_MODEL] = "model", [ATR_FILE_PICTURE] = "picture", [ATR_FILE_WEIGHTS] = "weights"};
    atr_status status = ATR_OK;
    atr_file_kind kind = ATR_FILE_WEIGHTS;

    ATR_TRY(atr_file_sniff(path, &kind));
    if (kind == ATR_FILE_DATASET)
        return check_dataset(path, threads);
    ATR_TRY(atr_info_check(path, kind));
    printf("%s: %s, sound\n", path, names[kind]);
done:
    return status;
}

/* A line for each file system that a named file lies on. */
static void say_volumes(const atr_options *options)
{
    for (int64_t i = 0; i < atr_options_positional_count(options); i++) {
        const char *const path = atr_options_positional(options, i);
        bool said = false;
        for (int64_t k = 0; k < i && !said; k++)
            said = atr_volume_same(atr_options_positional(options, k), path);
        if (!said)
            atr_doctor_say_volume(path);
    }
}

static int64_t examine(const atr_options *options)
{
    const int64_t files = atr_options_positional_count(options);
    const atr_threads threads = atr_threads_given(1, 1);
    char text[ATR_THREADS_TEXT_BYTES], onednn[ATR_ONEDNN_VERSION_BYTES];
    atr_doctor machine;
    int64_t faults = 0;

    atr_doctor_look(&machine, &threads);
    atr_doctor_say("atrous", atr_cli_version());
    atr_doctor_say_machine(&machine);
    atr_doctor_say("threads", atr_threads_text(&threads, text));
    faults += say_instructions();
    faults += say_backends(threads.count);
    atr_doctor_say("oneDNN", atr_onednn_version(onednn));
    atr_doctor_say_ranks(&machine);
    atr_doctor_say("gnuplot", on_path("gnuplot")
                                  ? "found"
                                  : "not found: `atrous report` draws no curves (Debian: gnuplot-nox)");
    say_volumes(options);
    atr_doctor_say_start(&machine, files > 0 ? atr_options_positional(options, 0) : "DATA.h5");
    for (int64_t i = 0; i < files; i++)
        if (check_file(atr_options_positional(options, i), threads.count) != ATR_OK) {
            atr_cli_error("doctor", atr_status_message());
            faults++;
        }
    return faults;
}

int atr_cmd_doctor(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create("atrous doctor", "[FILE...]",
                               "Says what this machine and this build can do: cores, memory, limits, "
                               "threads, instructions, back ends, MPI, "
                               "network; warns of what slows or ends a run; and how to start one here. "
                               "Files named are read from end to end. Anything wrong ends with code 1.",
                               &options));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    if (examine(options) > 0)
        exit_code = ATR_EXIT_FAILED;
done:
    if (status != ATR_OK) {
        atr_cli_error("doctor", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
