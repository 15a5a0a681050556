#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "core/text.h"

static const atr_command commands[] = {
    {"sample", atr_cmd_sample, "draw a small data set of shapes: DIR"},
    {"pack", atr_cmd_pack, "check pictures and masks and pack them: SOURCE -o DATA.h5"},
    {"train", atr_cmd_train, "train a network: DATA.h5 -o RUN"},
    {"eval", atr_cmd_eval, "score a network on a split: MODEL.h5 DATA.h5 -o DIR"},
    {"predict", atr_cmd_predict, "segment pictures or video: MODEL.h5 INPUT... -o DIR"},
    {"quantize", atr_cmd_quantize, "a model for prediction in int8: MODEL.h5 DATA.h5 -o INT8.h5"},
    {"import", atr_cmd_import, "PyTorch weights to a model: WEIGHTS -o MODEL.h5"},
    {"export", atr_cmd_export, "a model for other programs: MODEL.h5 -o M.safetensors|M.onnx"},
    {"bench", atr_cmd_bench, "time prediction or training on this machine"},
    {"simulate", atr_cmd_simulate, "how training scales to many nodes, from one's step: TRACE.json"},
    {"info", atr_cmd_info, "what a file is and holds: FILE"},
    {"doctor", atr_cmd_doctor, "what this machine and build can do; whether files are sound"},
    {"report", atr_cmd_report, "one HTML page about a run: RUN"},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    fprintf(to, "Usage: atrous COMMAND [ARGUMENT...]\n\nDeepLabV3+ semantic segmentation.\n\nCommands:\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(
        to,
        "\n`atrous COMMAND --help` explains one command; `atrous --version` says which\natrous this is.\n");
}

static const atr_command *find_command(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int refuse_command(const char *name)
{
    const char *names[COMMANDS];
    char shown[80];

    for (int i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *const meant = atr_did_you_mean(name, names, COMMANDS);
    atr_printable(name, shown, sizeof shown);
    if (meant != NULL)
        fprintf(stderr, "atrous: there is no command '%s'; did you mean '%s'?\n", shown, meant);
    else
        fprintf(stderr, "atrous: there is no command '%s'; `atrous --help` lists them\n", shown);
    return ATR_EXIT_USAGE;
}

/* What was printed must have arrived: a full disk behind `> file` is a failure too. */
static int check_output(int exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    fprintf(stderr, "atrous: cannot write the output: %s\n", strerror(errno));
    return exit_code == ATR_EXIT_DONE ? ATR_EXIT_FAILED : exit_code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return ATR_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return check_output(ATR_EXIT_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("atrous %s\n", atr_cli_version());
        return check_output(ATR_EXIT_DONE);
    }
    const atr_command *const command = find_command(argv[1]);
    return command != NULL ? check_output(command->run(argc - 1, argv + 1)) : refuse_command(argv[1]);
}
