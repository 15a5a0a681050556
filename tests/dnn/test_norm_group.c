/* Batch norm over a group: members that hold parts of a batch, perhaps nothing of it, get what one norm over all of it gets. Members
 * are threads here, whose sums meet at a barrier; dist's tests do the same with ranks. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/network.h"
#include "tests/support/rig.h"

enum { MEMBERS = 3, ROOM = 3 * 2048 };

/* Sums in the order of members. */
typedef struct meeting {
    pthread_barrier_t barrier;
    double values[MEMBERS][ROOM];
} meeting;

typedef struct member {
    meeting *meeting;
    int index;
    atr_norm_group group;
    rig r;
    int64_t pictures;
    atr_status status;
} member;

static atr_status sum(void *user, double *values, int64_t count)
{
    const member *const m = user;
    meeting *const all = m->meeting;

    if (count > ROOM)
        return ATR_ERR_INTERNAL;
    memcpy(all->values[m->index], values, (size_t)count * sizeof *values);
    pthread_barrier_wait(&all->barrier);
    for (int64_t i = 0; i < count; i++) {
        values[i] = 0;
        for (int k = 0; k < MEMBERS; k++)
            values[i] += all->values[k][i];
    }
    pthread_barrier_wait(&all->barrier);
    return ATR_OK;
}

static void *run(void *user)
{
    member *const m = user;
    atr_step step = m->r.step;

    if (m->pictures == 0) {
        step.x[0].dims[0] = step.y.dims[0] = step.dy.dims[0] = step.dx[0].dims[0] = 0;
        step.wants_dw = false;
    }
    atr_backend_enter(m->r.backend);
    m->status = step.kernel->forward(m->r.backend, &step);
    if (m->status == ATR_OK)
        m->status = step.kernel->backward(m->r.backend, &step);
    return NULL;
}

static void copy_pictures(rig_buffer *to, const rig_buffer *from, int64_t first, int64_t count)
{
    const int64_t each = from->count / from->view.dims[0];

    memcpy(to->block, from->block + first * each, (size_t)(count * each) * sizeof *to->block);
}

/* Pictures first.. of `got` against those of `want`. */
static void check_pictures(const char *what, const rig_buffer *got, const rig_buffer *want, int64_t first,
                           int64_t count, double bound)
{
    const int64_t each = want->count / want->view.dims[0];
    double apart = 0, most = 0;

    for (int64_t i = 0; i < want->count; i++)
        most = fmax(most, fabs((double)want->block[i]));
    for (int64_t i = 0; i < count * each; i++)
        apart = fmax(apart, fabs((double)got->block[i] - (double)want->block[first * each + i]));
    if (!(apart <= bound * most))
        fail_msg("%s: %.3g of %.3g apart", what, apart, most);
}

/* One batch, as a whole and over members with 2, 0 and 3 of its pictures. */
typedef struct comparison {
    const char *backend;
    rig_case whole;
    double offset; /* of x, whose deviation is about 1 */
    double bound;
} comparison;

static void make_member(member *m, const comparison *c, const rig *whole, rig_case *spec, int64_t first)
{
    *spec = c->whole;
    spec->n = m->pictures > 0 ? m->pictures : 2; /* of which none is used */
    atr_backend *backend = NULL;
    must(atr_backend_open(c->backend, 2, &backend));
    rig_create(&m->r, spec, backend, 7);
    copy_pictures(&m->r.x[0], &whole->x[0], first, m->pictures);
    copy_pictures(&m->r.dy, &whole->dy, first, m->pictures);
    m->group = (atr_norm_group){sum, m};
    m->r.step.group = &m->group;
    m->r.step.norm_pixels = whole->step.norm_pixels;
}

static void check_sums(const char *what, const rig_buffer *whole, const rig_buffer *a, const rig_buffer *b,
                       double bound)
{
    double most = 0;

    for (int64_t i = 0; i < whole->count; i++)
        most = fmax(most, fabs((double)whole->block[i]));
    for (int64_t i = 0; i < whole->count; i++)
        if (!(fabs((double)a->block[i] + (double)b->block[i] - (double)whole->block[i]) <= bound * most))
            fail_msg("%s %lld: %.9g + %.9g is not %.9g", what, (long long)i, (double)a->block[i],
                     (double)b->block[i], (double)whole->block[i]);
}

static void check_members(const comparison *c, const rig *whole, const member members[MEMBERS])
{
    int64_t first = 0;

    for (int k = 0; k < MEMBERS; k++) {
        const member *const m = &members[k];
        assert_int_equal(m->status, ATR_OK);
        check_pictures("y", &m->r.y, &whole->y, first, m->pictures, c->bound);
        check_pictures("dx", &m->r.dx[0], &whole->dx[0], first, m->pictures, c->bound);
        check_pictures("running mean", &m->r.running_mean, &whole->running_mean, 0, 1, 1e-6);
        check_pictures("running variance", &m->r.running_var, &whole->running_var, 0, 1, c->bound);
        assert_memory_equal(m->r.running_mean.block, members[0].r.running_mean.block,
                            (size_t)whole->running_mean.count * sizeof(float));
        assert_memory_equal(m->r.running_var.block, members[0].r.running_var.block,
                            (size_t)whole->running_var.count * sizeof(float));
        assert_int_equal(m->r.num_tracked, 1);
        first += m->pictures;
    }
    check_sums("dweight", &whole->dweight, &members[0].r.dweight, &members[2].r.dweight, c->bound);
    check_sums("dbias", &whole->dbias, &members[0].r.dbias, &members[2].r.dbias, c->bound);
}

static void compare(const comparison *c)
{
    static const int64_t pictures[MEMBERS] = {2, 0, 3};
    static meeting all;
    member members[MEMBERS];
    rig_case specs[MEMBERS];
    pthread_t threads[MEMBERS];
    atr_backend *backend = NULL;
    rig whole;
    int64_t first = 0;

    assert_int_equal(pthread_barrier_init(&all.barrier, NULL, MEMBERS), 0);
    must(atr_backend_open(c->backend, 2, &backend));
    rig_create(&whole, &c->whole, backend, 7);
    for (int64_t i = 0; i < whole.x[0].count; i++)
        whole.x[0].block[i] += (float)c->offset;
    for (int k = 0; k < MEMBERS; k++) {
        members[k] = (member){.meeting = &all, .index = k, .pictures = pictures[k]};
        make_member(&members[k], c, &whole, &specs[k], first);
        first += pictures[k];
    }
    rig_run(&whole);
    for (int k = 0; k < MEMBERS; k++)
        assert_int_equal(pthread_create(&threads[k], NULL, run, &members[k]), 0);
    for (int k = 0; k < MEMBERS; k++)
        pthread_join(threads[k], NULL);
    check_members(c, &whole, members);
    for (int k = 0; k < MEMBERS; k++) {
        atr_backend *const own = members[k].r.backend;
        rig_destroy(&members[k].r);
        atr_backend_close(own);
    }
    rig_destroy(&whole);
    atr_backend_close(backend);
    pthread_barrier_destroy(&all.barrier);
}

static const rig_case batch = {.label = "batch",
                               .op = ATR_OP_NORM,
                               .batch_stats = true,
                               .act = ATR_ACT_RELU,
                               .n = 5,
                               .h = 9,
                               .w = 7,
                               .c = 19};

static void members_get_what_one_norm_of_all_pictures_gets(void **state)
{
    const comparison c = {*state, batch, 0, 1e-6};

    (void)state;
    compare(&c);
}

/* Behind the pooling of whole pictures: one value by picture and channel, on one member 2, on one none. */
static void members_share_the_norm_of_pooled_values(void **state)
{
    comparison c = {*state, batch, 0, 3e-6};

    c.whole.label = "pooled";
    c.whole.h = c.whole.w = 1;
    c.whole.c = 256;
    compare(&c);
}

/* A thousand deviations from zero: moments that are summed as they come would lose six digits. */
static void means_far_from_zero_cost_no_digits(void **state)
{
    comparison c = {*state, batch, 1000, 2e-5};

    c.whole.label = "offset";
    compare(&c);
}

int main(void)
{
    static char *const backends[] = {"ref", "cpu"};
    struct CMUnitTest tests[2 * 3];
    int count = 0;

    for (int i = 0; i < 2; i++) {
        const struct CMUnitTest own[] = {
            cmocka_unit_test_prestate(members_get_what_one_norm_of_all_pictures_gets, backends[i]),
            cmocka_unit_test_prestate(members_share_the_norm_of_pooled_values, backends[i]),
            cmocka_unit_test_prestate(means_far_from_zero_cost_no_digits, backends[i]),
        };
        memcpy(tests + count, own, sizeof own);
        count += 3;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
