#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "io/y4m.h"

static atr_y4m parse(const char *line)
{
    atr_y4m video;

    if (atr_y4m_parse(line, &video) != ATR_OK)
        fail_msg("%s: %s", line, atr_status_message());
    return video;
}

static void a_header_says_size_rate_and_planes(void **state)
{
    (void)state;
    atr_y4m v = parse("YUV4MPEG2 W321 H241 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED");
    assert_int_equal(v.width, 321);
    assert_int_equal(v.height, 241);
    assert_int_equal(v.rate, 30000);
    assert_int_equal(v.rate_scale, 1001);
    assert_false(v.full_range);
    assert_int_equal(atr_y4m_frame_bytes(&v), 321 * 241 + 2 * 161 * 121);
    v = parse("YUV4MPEG2 H3 W5 C422 XCOLORRANGE=FULL");
    assert_true(v.full_range);
    assert_int_equal(v.rate, 0);
    assert_int_equal(atr_y4m_frame_bytes(&v), 15 + 2 * 3 * 3);
    v = parse("YUV4MPEG2 W6 H2 F0:0 C411");
    assert_int_equal(atr_y4m_frame_bytes(&v), 12 + 2 * 2 * 2);
    v = parse("YUV4MPEG2 W6 H2 F25:1 Cmono");
    assert_int_equal(atr_y4m_frame_bytes(&v), 12);
    v = parse("YUV4MPEG2 W6 H2 F25:1"); /* 4:2:0 where nothing is said */
    assert_int_equal(atr_y4m_frame_bytes(&v), 12 + 2 * 3);
}

static void a_written_header_reads_back(void **state)
{
    char line[ATR_Y4M_LINE];

    (void)state;
    const atr_y4m v = parse("YUV4MPEG2 W64 H48 F24:1 Ip A128:117 C444 XCOLORRANGE=FULL");
    const int length = atr_y4m_line(&v, line);
    assert_int_equal(line[length - 1], '\n');
    line[length - 1] = '\0';
    const atr_y4m again = parse(line);
    assert_memory_equal(&again, &v, sizeof v);
}

static void hostile_headers_are_refused_with_words(void **state)
{
    static const char *const lines[] = {"",
                                        "YUV4MPEG2",
                                        "YUV4MPEG3 W1 H1",
                                        "YUV4MPEG2 ",
                                        "YUV4MPEG2 W16",
                                        "YUV4MPEG2 W0 H16",
                                        "YUV4MPEG2 W-4 H16",
                                        "YUV4MPEG2 W16x H16",
                                        "YUV4MPEG2 W H16",
                                        "YUV4MPEG2 W99999999999999999999999 H16",
                                        "YUV4MPEG2 W67108864 H67108864",
                                        "YUV4MPEG2 W65536 H1025",
                                        "YUV4MPEG2 W16 H16 F25",
                                        "YUV4MPEG2 W16 H16 F25:0",
                                        "YUV4MPEG2 W16 H16 F0:1",
                                        "YUV4MPEG2 W16 H16 F9999999999999:1",
                                        "YUV4MPEG2 W16 H16 C420p10",
                                        "YUV4MPEG2 W16 H16 C444alpha",
                                        "YUV4MPEG2 W16 H16 C",
                                        "YUV4MPEG2 W16 H16 Iprogressive",
                                        "YUV4MPEG2 W16 H16 A11111111111111111111:11111111111111111111"};
    atr_y4m video;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (atr_y4m_parse(lines[i], &video) == ATR_OK || atr_status_message()[0] == '\0')
            fail_msg("'%s' was taken", lines[i]);
    char longest[2 * ATR_Y4M_LINE];
    memset(longest, 'X', sizeof longest);
    memcpy(longest, "YUV4MPEG2 W4 H4 ", 16);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(atr_y4m_parse(longest, &video), ATR_ERR_DATA);
    /* Any bytes at all: a message or a size within bounds. */
    for (uint64_t seed = 0; seed < 5000; seed++) {
        char line[64] = "YUV4MPEG2 W32 H16 F25:1 C420jpeg";
        for (int i = 0; i < 3; i++) {
            const uint64_t bits = atr_rng_key(seed, ATR_RNG_SHUFFLE, 0, (uint64_t)i);
            line[10 + bits % 22] = (char)(bits >> 32);
        }
        if (atr_y4m_parse(line, &video) == ATR_OK)
            assert_in_range(video.width * video.height, 1, ATR_Y4M_MAX_PIXELS);
    }
}

/* BT.601 and BT.709 in limited and full range: values of the standards' formulas, rounded. */
static void colours_become_the_standards_numbers_and_come_back(void **state)
{
    static const struct {
        uint8_t rgb[3];
        uint8_t limited_601[3], full_601[3], limited_709[3];
    } rows[] = {
        {{255, 255, 255}, {235, 128, 128}, {255, 128, 128}, {235, 128, 128}},
        {{0, 0, 0}, {16, 128, 128}, {0, 128, 128}, {16, 128, 128}},
        {{255, 0, 0}, {81, 90, 240}, {76, 85, 255}, {63, 102, 240}},
        {{0, 255, 0}, {145, 54, 34}, {150, 44, 21}, {173, 42, 26}},
        {{0, 0, 255}, {41, 240, 110}, {29, 255, 107}, {32, 240, 118}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int kind = 0; kind < 3; kind++) {
            atr_y4m v = atr_y4m_make(1, 1, 25, 1, "444");
            const uint8_t *want = kind == 0   ? rows[i].limited_601
                                  : kind == 1 ? rows[i].full_601
                                              : rows[i].limited_709;
            uint8_t yuv[3], back[3];
            v.full_range = kind == 1;
            v.matrix = kind == 2 ? ATR_YUV_709 : ATR_YUV_601;
            atr_y4m_from_rgb(&v, rows[i].rgb, yuv);
            atr_y4m_to_rgb(&v, yuv, back);
            for (int c = 0; c < 3; c++) {
                assert_int_equal(yuv[c], want[c]);
                assert_true(abs(back[c] - rows[i].rgb[c]) <= 2);
            }
        }
}

static void planes_of_every_kind_and_odd_size_come_back(void **state)
{
    static const char *const kinds[] = {"420jpeg", "420mpeg2", "422", "411", "444", "mono"};

    (void)state;
    for (int k = 0; k < 6; k++)
        for (int64_t width = 1; width <= 7; width++)
            for (int64_t height = 1; height <= 3; height++) {
                const atr_y4m v = atr_y4m_make(width, height, 25, 1, kinds[k]);
                const int64_t bytes = atr_y4m_frame_bytes(&v);
                uint8_t rgb[3 * 21],
                    *planes = malloc((size_t)bytes); /* exact, so that a sanitizer sees a slip */
                uint8_t *again = malloc((size_t)(3 * width * height));
                for (int64_t p = 0; p < width * height; p++) /* one colour: averaging changes nothing */
                    memcpy(rgb + 3 * p, k == 5 ? (uint8_t[]){90, 90, 90} : (uint8_t[]){200, 90, 30}, 3);
                atr_y4m_from_rgb(&v, rgb, planes);
                atr_y4m_to_rgb(&v, planes, again);
                for (int64_t i = 0; i < 3 * width * height; i++)
                    assert_true(abs(again[i] - rgb[i]) <= 2);
                free(planes);
                free(again);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_says_size_rate_and_planes),
        cmocka_unit_test(a_written_header_reads_back),
        cmocka_unit_test(hostile_headers_are_refused_with_words),
        cmocka_unit_test(colours_become_the_standards_numbers_and_come_back),
        cmocka_unit_test(planes_of_every_kind_and_odd_size_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
