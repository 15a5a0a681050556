#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dist/monitor_impl.h"

enum { RANKS = 4 };

/* Four ranks that wait for each other in step 88. */
static void at_work(atr_sighting ranks[RANKS])
{
    for (int r = 0; r < RANKS; r++) {
        ranks[r] = (atr_sighting){.heard_of = true,
                                  .process = 4000 + r,
                                  .position = 500,
                                  .step = 88,
                                  .activity = ATR_DOING_ALL_REDUCE,
                                  .still = 60};
        snprintf(ranks[r].host, sizeof ranks[r].host, "c%02d", r / 2);
    }
}

static bool stalled(const atr_sighting ranks[RANKS], char words[1024])
{
    atr_text text = {0};
    const bool found = atr_monitor_stalled(ranks, RANKS, 60, 5, &text);

    snprintf(words, 1024, "%s", text.bytes != NULL ? text.bytes : "");
    atr_free(text.bytes);
    return found;
}

static void late_ranks_are_named_with_what_they_do(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    ranks[2].position = 497;
    ranks[2].activity = ATR_DOING_DATA;
    ranks[2].still = 61;
    ranks[3].position = 497;
    ranks[3].activity = ATR_DOING_FORWARD;
    ranks[3].still = 61;
    ranks[3].silent = 60;
    assert_true(stalled(ranks, words));
    assert_string_equal(
        words,
        "R01: stalled 61 s at step 88 in \"all-reduce\": waiting for rank 2 on node c01 (process 4002), in "
        "\"data\" of "
        "step 88 for 61 s; rank 3 on node c01 (process 4003), without a sign of life for 60 s, last seen in "
        "\"forward\" of step 88. Stopping all 4 ranks (--stall-timeout 60).");
}

/* One that is slow, but gets on, is not late; nor is a job in which one that is furthest behind gets on. */
static void progress_of_the_last_ranks_counts(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    ranks[1].position = 499;
    ranks[1].still = 59;
    assert_false(stalled(ranks, words));
    ranks[2].position = 499;
    ranks[2].still = 70;
    assert_false(stalled(ranks, words));
    ranks[1].still = 60;
    assert_true(stalled(ranks, words));
}

static void a_stopped_rank_among_equals_is_the_late_one(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    ranks[1].silent = 58;
    assert_true(stalled(ranks, words));
    assert_non_null(
        strstr(words, "waiting for rank 1 on node c00 (process 4001), without a sign of life for 58 s"));
    assert_null(strstr(words, "rank 2"));
}

static void a_network_that_hangs_has_no_late_rank(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    ranks[3] = (atr_sighting){0};
    assert_true(stalled(ranks, words));
    assert_non_null(strstr(words, "all ranks that are heard are in \"all-reduce\" of step 88"));
    assert_non_null(strstr(words, "Rank 3 could not be heard at all"));
}

static void ranks_that_left_are_not_waited_for(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    ranks[0].position = 3;
    ranks[0].left = true;
    for (int r = 1; r < RANKS; r++)
        ranks[r].still = 1;
    assert_false(stalled(ranks, words));
    for (int r = 1; r < RANKS; r++)
        ranks[r].left = true;
    assert_false(stalled(ranks, words));
}

/* Reading and compiling may take long where steps are short. */
static void a_run_that_is_set_up_gets_more_time(void **unused)
{
    atr_sighting ranks[RANKS];
    char words[1024];

    (void)unused;
    at_work(ranks);
    for (int r = 0; r < RANKS; r++)
        ranks[r].activity = ATR_DOING_START;
    ranks[1].position = 499;
    ranks[1].still = 599;
    assert_false(stalled(ranks, words));
    ranks[1].still = 600;
    assert_true(stalled(ranks, words));
}

static void a_node_that_does_not_answer_is_named_with_its_ranks(void **unused)
{
    atr_sighting ranks[RANKS];
    atr_text text = {0};

    (void)unused;
    at_work(ranks);
    atr_monitor_unreachable(&ranks[2], 2, 1, 6.4, RANKS, &text);
    assert_string_equal(
        text.bytes,
        "R01: node c01 has not answered for 6 s (node or network down): rank 2 on it and 1 other, last "
        "seen in \"all-reduce\" of step 88. Stopping all 4 ranks (--lost-timeout).");
    atr_free(text.bytes);
}

/* Its system takes what is sent to it: it is no lost node, however long it stands still. */
static void a_stopped_process_answers(void **unused)
{
    atr_meeting_point where;
    atr_monitor_wire there = {.file = -1}, here = {.file = -1};
    atr_packet packet = {.kind = ATR_PACKET_BEAT, .host = "c01"};
    const _Atomic bool never = false;
    const int listener = atr_monitor_wire_listen("here", &where);
    int state = 0;

    (void)unused;
    assert_true(listener >= 0);
    packet.token = where.token;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (atr_monitor_wire_connect(&there, &where, "here", &never))
            raise(SIGSTOP);
        _exit(1);
    }
    for (int i = 0; i < 500 && here.file < 0; i++) {
        (void)(atr_monitor_wire_accept(listener, &here) || usleep(10000));
    }
    assert_true(here.file >= 0);
    atr_monitor_wire_send(&here, &packet, NULL);
    assert_int_equal(waitpid(child, &state, WUNTRACED), child);
    assert_true(WIFSTOPPED(state));
    for (int i = 0; i < 100; i++)
        atr_monitor_wire_send(&here, &packet, NULL);
    for (int i = 0; i < 500 && atr_monitor_wire_unanswered(&here) > 0; i++)
        usleep(10000);
    assert_true(atr_monitor_wire_unanswered(&here) == 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &state, 0), child);
    atr_monitor_wire_close(&here);
    close(listener);
}

/* Both ends of a connection on this machine. */
static void connections_carry_whole_packets_of_their_own_job(void **unused)
{
    atr_meeting_point where;
    atr_monitor_wire there = {.file = -1}, here = {.file = -1}, stranger = {.file = -1};
    atr_packet packet = {.kind = ATR_PACKET_BEAT, .position = 7, .host = "c01"}, got;
    char text[ATR_PACKET_TEXT + 1];
    const _Atomic bool never = false;
    bool died = false;
    const int listener = atr_monitor_wire_listen("here", &where);

    (void)unused;
    assert_true(listener >= 0);
    packet.token = where.token;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* rank 1: two packets, then its process ends without a word */
        if (!atr_monitor_wire_connect(&there, &where, "here", &never))
            _exit(1);
        packet.rank = 1;
        atr_monitor_wire_send(&there, &packet, NULL);
        atr_monitor_wire_send(&there, &packet, "sample 5121 (checksum)");
        for (;;)
            pause();
    }
    for (int i = 0; i < 500 && here.file < 0; i++) {
        (void)(atr_monitor_wire_accept(listener, &here) || usleep(10000));
    }
    assert_true(here.file >= 0);
    atr_monitor_wire_send(&here, &packet, NULL);
    int seen = 0;
    for (int i = 0; i < 1000 && seen < 2; i++) {
        const int result = atr_monitor_wire_receive(&here, where.token, &got, text, &died);
        assert_true(result >= 0);
        if (result == 0 && usleep(10000) == 0)
            continue;
        assert_int_equal(got.rank, 1);
        assert_int_equal(got.position, 7);
        assert_string_equal(text, seen == 0 ? "" : "sample 5121 (checksum)");
        seen++;
    }
    assert_int_equal(seen, 2);
    kill(child, SIGKILL);
    int result = 0;
    for (int i = 0; i < 1000 && result == 0; i++) {
        result = atr_monitor_wire_receive(&here, where.token, &got, text, &died);
        usleep(10000);
    }
    assert_int_equal(result, -1);
    assert_true(died);
    atr_monitor_wire_close(&here);

    /* Another job's rank that comes here by mistake is not listened to, and does not take this one for its own. */
    atr_meeting_point wrong = where;
    wrong.token++;
    wrong.count = 0;
    const pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0)
        _exit(atr_monitor_wire_connect(&stranger, &wrong, "here", &never) ? 1 : 0);
    for (int i = 0; i < 500 && here.file < 0; i++) {
        (void)(atr_monitor_wire_accept(listener, &here) || usleep(10000));
    }
    atr_monitor_wire_send(&here, &packet, NULL);
    assert_int_equal(waitpid(other, &result, 0), other);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    atr_monitor_wire_close(&here);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_ranks_are_named_with_what_they_do),
        cmocka_unit_test(progress_of_the_last_ranks_counts),
        cmocka_unit_test(a_stopped_rank_among_equals_is_the_late_one),
        cmocka_unit_test(a_network_that_hangs_has_no_late_rank),
        cmocka_unit_test(ranks_that_left_are_not_waited_for),
        cmocka_unit_test(a_run_that_is_set_up_gets_more_time),
        cmocka_unit_test(a_node_that_does_not_answer_is_named_with_its_ranks),
        cmocka_unit_test(a_stopped_process_answers),
        cmocka_unit_test(connections_carry_whole_packets_of_their_own_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
