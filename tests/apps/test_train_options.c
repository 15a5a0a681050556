#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/train_options.h"

/* Options parsed from a command line, and what they mean. */
typedef struct parsed {
    atr_train_table *table;
    atr_options *options;
    atr_train_options target;
    atr_train_config config;
    atr_status status;
} parsed;

enum { MOST = 16 };

static void parse(parsed *p, const char *line)
{
    static char copy[512];
    char *argv[MOST] = {"train"}, *rest = NULL;
    int argc = 1;

    memset(p, 0, sizeof *p);
    strncpy(copy, line, sizeof copy - 1);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL && argc < MOST;
         word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    assert_int_equal(atr_train_table_create(&p->table), ATR_OK);
    assert_int_equal(atr_options_create("atrous train", "", "", &p->options), ATR_OK);
    assert_int_equal(atr_train_table_add(p->table, p->options, &p->target), ATR_OK);
    p->status = atr_options_parse(p->options, argc, argv);
    if (p->status == ATR_OK)
        p->status = atr_train_config_from(p->options, &p->target, &p->config);
}

static void end(parsed *p)
{
    atr_options_destroy(p->options);
    atr_train_table_destroy(p->table);
}

static bool near(double a, double b)
{
    return a - b < 1e-12 && b - a < 1e-12;
}

static void defaults_are_those_of_the_reference(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "");
    assert_int_equal(p.status, ATR_OK);
    assert_int_equal(p.config.height, 512);
    assert_int_equal(p.config.width, 512);
    assert_int_equal(p.target.batch, 8);
    assert_int_equal(p.config.optim.kind, ATR_OPTIM_SGD);
    assert_true(p.config.optim.nesterov && p.config.optim.momentum == 0.9 &&
                p.config.optim.weight_decay == 1e-4);
    assert_true(near(p.config.phases[0].schedule.lr, 7e-3 * 8 / 16) &&
                near(p.config.phases[0].schedule.min_lr, 7e-5 * 8 / 16));
    assert_true(p.config.dropout[0] == 0.5 && p.config.dropout[1] == 0.1);
    assert_true(p.config.loss.factor[ATR_LOSS_CE] == 1.0 && p.config.loss.factor[ATR_LOSS_DICE] == 0.0);
    assert_true(p.config.loss.focal_alpha == 0.5 && p.config.loss.focal_gamma == 2.0 &&
                p.config.loss.dice_beta == 1.0 && p.config.loss.dice_smooth == 1e-5);
    assert_false(p.config.loss.reference);
    atr_augment reference;
    atr_augment_defaults(&reference);
    assert_memory_equal(reference.value, p.config.augment.value, sizeof reference.value);
    assert_int_equal(p.config.augment.padding, 255);
    end(&p);
}

static void rates_are_taken_as_they_are_without_fit_lr(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--no-fit-lr --lr 0.5");
    assert_true(near(p.config.phases[0].schedule.lr, 0.5) && near(p.config.phases[0].schedule.min_lr, 0.005));
    end(&p);
    parse(&p, "--no-fit-lr --lr 0.5 --min-lr 0");
    assert_true(p.config.phases[0].schedule.min_lr == 0);
    end(&p);
}

/* The reference's train.py: one schedule over all epochs, refitted to the batch of the phase. */
static void freezing_makes_two_phases_with_rates_of_their_batches(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--epochs 100 --freeze-epochs 50 --freeze-batch 8 --batch 4");
    assert_int_equal(p.status, ATR_OK);
    assert_int_equal(p.config.phase_count, 2);
    const atr_train_phase *const frozen = &p.config.phases[0], *const free = &p.config.phases[1];
    assert_true(frozen->frozen && frozen->first == 0 && frozen->end == 50 && frozen->batch == 8);
    assert_true(!free->frozen && free->first == 50 && free->end == 100 && free->batch == 4);
    assert_true(near(frozen->schedule.lr, 3.5e-3) && near(free->schedule.lr, 1.75e-3));
    assert_true(near(frozen->schedule.min_lr, 3.5e-5) && near(free->schedule.min_lr, 1.75e-5));
    assert_int_equal(frozen->schedule.epochs, 100);
    assert_int_equal(free->schedule.epochs, 100);
    assert_ptr_equal(atr_train_phase_at(&p.config, 49), frozen);
    assert_ptr_equal(atr_train_phase_at(&p.config, 50), free);
    assert_ptr_equal(atr_train_phase_at(&p.config, 100), free);
    end(&p);
    parse(&p, "--epochs 10 --freeze-epochs 10");
    assert_true(p.config.phase_count == 1 && p.config.phases[0].frozen && p.config.phases[0].end == 10);
    assert_int_equal(p.config.phases[0].batch, 8);
    end(&p);
    parse(&p, "--epochs 10 --freeze-epochs 30");
    assert_true(p.config.phase_count == 1 && p.config.phases[0].frozen && p.config.phases[0].end == 10);
    end(&p);
    parse(&p, "--freeze-batch 2");
    assert_true(p.config.phase_count == 1 && !p.config.phases[0].frozen && p.config.phases[0].batch == 8);
    end(&p);
}

static void a_warm_up_counts_only_where_it_is_given(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--schedule poly");
    assert_true(p.config.phases[0].schedule.kind == ATR_SCHEDULE_POLY &&
                p.config.phases[0].schedule.power == 0.9);
    assert_false(p.config.phases[0].schedule.own_warmup);
    end(&p);
    parse(&p, "--schedule poly --power 2 --warmup 0.5");
    assert_true(p.config.phases[0].schedule.own_warmup && p.config.phases[0].schedule.warmup == 0.5);
    assert_true(p.config.phases[0].schedule.power == 2);
    end(&p);
}

static void compat_reference_pads_with_class_0(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--compat reference");
    assert_int_equal(p.config.augment.padding, 0);
    assert_int_equal(p.config.padding, 0);
    end(&p);
}

static void a_loss_is_a_sum_of_terms_with_their_numbers(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--loss focal+0.5*dice --focal-gamma 3 --dice-beta 2 --compat reference");
    assert_int_equal(p.status, ATR_OK);
    assert_true(p.config.loss.factor[ATR_LOSS_FOCAL] == 1.0 && p.config.loss.factor[ATR_LOSS_DICE] == 0.5 &&
                p.config.loss.factor[ATR_LOSS_CE] == 0.0);
    assert_true(p.config.loss.focal_gamma == 3.0 && p.config.loss.dice_beta == 2.0 &&
                p.config.loss.reference);
    end(&p);
}

static void augmentation_rows_are_set_and_switched_off(void **state)
{
    parsed p;

    (void)state;
    parse(&p, "--augment-flip 0 --augment-scale 0.5,1.5");
    assert_int_equal(p.status, ATR_OK);
    assert_true(p.config.augment.value[ATR_AUGMENT_FLIP][0] == 0);
    assert_true(p.config.augment.value[ATR_AUGMENT_SCALE][1] == 1.5);
    end(&p);
}

static void what_has_no_meaning_is_refused(void **state)
{
    static const char *const lines[] = {"--size 0",
                                        "--freeze-epochs -1",
                                        "--freeze-batch -1",
                                        "--frozen-norm none",
                                        "--accumulate 0",
                                        "--clip -1",
                                        "--ema 1",
                                        "--target-miou 80",
                                        "--target-miou 0.8 --eval-period 0",
                                        "--warmup 100",
                                        "--warmup -1",
                                        "--schedule poly --power 0",
                                        "--optimizer rmsprop",
                                        "--init constant",
                                        "--size 12x",
                                        "--size 1x2x3",
                                        "--size 99999",
                                        "--size -5",
                                        "--output-stride 9",
                                        "--dropout 1",
                                        "--dropout 0.1,0.1,1",
                                        "--loss dise",
                                        "--loss ce --dice-beta 2",
                                        "--label-smoothing 1",
                                        "--lr 0",
                                        "--lr nan",
                                        "--no-fit-lr --min-lr 1",
                                        "--batch 0",
                                        "--augment-flip 2",
                                        "--augment-scale x",
                                        "--resume --force",
                                        "--optimizer rmsprop",
                                        "--momentum 1",
                                        "--augment-flip 1,2",
                                        "--schedule step --epochs 5"};

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        parsed p;
        parse(&p, lines[i]);
        if (p.status != ATR_ERR_USAGE)
            fail_msg("'%s' gives %s", lines[i], atr_status_name(p.status));
        end(&p);
    }
}

static void sizes_are_height_by_width(void **state)
{
    int64_t height = 0, width = 0;

    (void)state;
    assert_int_equal(atr_size_parse("512x384", &height, &width), ATR_OK);
    assert_int_equal(height, 512);
    assert_int_equal(width, 384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_reference),
        cmocka_unit_test(rates_are_taken_as_they_are_without_fit_lr),
        cmocka_unit_test(freezing_makes_two_phases_with_rates_of_their_batches),
        cmocka_unit_test(a_warm_up_counts_only_where_it_is_given),
        cmocka_unit_test(compat_reference_pads_with_class_0),
        cmocka_unit_test(a_loss_is_a_sum_of_terms_with_their_numbers),
        cmocka_unit_test(augmentation_rows_are_set_and_switched_off),
        cmocka_unit_test(what_has_no_meaning_is_refused),
        cmocka_unit_test(sizes_are_height_by_width),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
