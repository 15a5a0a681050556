#ifndef ATR_APPS_COMMANDS_H
#define ATR_APPS_COMMANDS_H

/* The commands of the program. Each is one file cmd_NAME.c, one declaration here and one row of the table in main.c. */

/* What the process ends with. */
enum {
    ATR_EXIT_DONE = 0,
    ATR_EXIT_FAILED = 1,
    ATR_EXIT_USAGE = 2,   /* the command line or recipe has no meaning */
    ATR_EXIT_PARTLY = 3,  /* finished, but some inputs failed */
    ATR_EXIT_STOPPED = 75 /* stopped on request, can be resumed */
};

typedef struct atr_command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; gives the exit code */
    const char *help;                  /* one line */
} atr_command;

int atr_cmd_pack(int argc, char **argv);
int atr_cmd_train(int argc, char **argv);
int atr_cmd_eval(int argc, char **argv);
int atr_cmd_predict(int argc, char **argv);
int atr_cmd_quantize(int argc, char **argv);
int atr_cmd_import(int argc, char **argv);
int atr_cmd_export(int argc, char **argv);
int atr_cmd_bench(int argc, char **argv);
int atr_cmd_simulate(int argc, char **argv);
int atr_cmd_bench_comm(int argc, char **argv); /* "bench comm" */
int atr_cmd_report(int argc, char **argv);
int atr_cmd_doctor(int argc, char **argv);
int atr_cmd_info(int argc, char **argv);
int atr_cmd_sample(int argc, char **argv);

#endif
