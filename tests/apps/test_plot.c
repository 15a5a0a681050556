/* Charts: what they show is what was given, and a name is never more than a name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/plot.h"
#include "io/image.h"
#include "io/path.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    if (system("gnuplot --version >/dev/null 2>&1") != 0) {
        print_message("skipped: no gnuplot\n");
        exit(77);
    }
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static atr_image read_png(const char *path)
{
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);
    atr_image image = {0};

    must(atr_image_decode_rgb(bytes, size, false, &image));
    free(bytes);
    return image;
}

/* Pixels of exactly this colour in rows [from,to). */
static int64_t pixels_of(const atr_image *image, int r, int g, int b, int64_t from, int64_t to)
{
    int64_t found = 0;

    for (int64_t i = from * image->width; i < to * image->width; i++)
        found += image->pixels[3 * i] == r && image->pixels[3 * i + 1] == g && image->pixels[3 * i + 2] == b;
    return found;
}

static void bars_are_as_long_as_their_values(void **state)
{
    const char *const names[] = {"sky", "road", "sign", "pole"};
    const double values[] = {100, 50, 0, NAN};
    const char *const path = scratch_text("%s/bars.png", folder);

    (void)state;
    must(atr_bars_png(&(atr_bars){"mIoU = 50.00 %", "percent", names, values, 4}, path));
    atr_image image = read_png(path);
    /* Each bar's row: all its pixels, then 100 to 50. */
    int64_t longest = 0, half = 0, rows = 0;
    for (int64_t y = 0; y < image.height; y++) {
        const int64_t length = pixels_of(&image, 0x41, 0x69, 0xe1, y, y + 1);
        longest = length > longest ? length : longest;
    }
    assert_true(longest > image.width / 2);
    for (int64_t y = 0; y < image.height; y++) {
        const int64_t length = pixels_of(&image, 0x41, 0x69, 0xe1, y, y + 1);
        rows += length == longest;
        half += length > 0 && labs((long)(2 * length - longest)) <= 3;
        assert_true(length == 0 || length == longest || labs((long)(2 * length - longest)) <= 3);
    }
    assert_true(rows > 10 && labs((long)(rows - half)) <= 1);
    atr_image_free(&image);
}

static void the_matrix_has_a_colour_for_each_cell(void **state)
{
    const char *const names[] = {"a", "b"};
    const double values[] = {100, 0, NAN, NAN}; /* the second row has no truth: white */
    const char *const path = scratch_text("%s/matrix.png", folder);

    (void)state;
    must(atr_matrix_png(&(atr_matrix){"title", "prediction", "truth", names, values, 2}, path));
    atr_image image = read_png(path);
    const int64_t dark = pixels_of(&image, 0x17, 0x50, 0x6f, 0, image.height);
    const int64_t light = pixels_of(&image, 0xf7, 0xfa, 0xfc, 0, image.height);
    assert_true(dark > 2500 && light > 2500);
    atr_image_free(&image);
}

static void one_class_and_very_many_are_drawn_too(void **state)
{
    enum { MOST = 254 };
    const char *names[MOST];
    double *const values = calloc((size_t)MOST * MOST, sizeof *values);

    (void)state;
    for (int k = 0; k < MOST; k++) {
        names[k] = "a class";
        values[k * MOST + k] = 100;
    }
    for (int count = 1; count <= MOST; count += MOST - 1) {
        const char *const path = scratch_text("%s/m%d.png", folder, count);
        must(atr_matrix_png(&(atr_matrix){"t", "x", "y", names, values, count}, path));
        atr_image image = read_png(path);
        assert_true(image.width > 9 * count);
        atr_image_free(&image);
        must(atr_bars_png(&(atr_bars){"t", "x", names, values, count}, path));
    }
    free(values);
}

static void names_never_become_commands(void **state)
{
    static const char *const names[] = {"`touch stolen`",
                                        "'; system 'touch stolen'; '",
                                        "\"; system \"touch stolen\"; \"",
                                        "x\n!touch stolen\nsystem 'touch stolen'\n",
                                        "@macro {/*9 big} \\",
                                        "'",
                                        "",
                                        "\xc3\xa4\xf0\x9f\x90\xb1\xff"};
    enum { COUNT = sizeof names / sizeof names[0] };
    double values[COUNT * COUNT] = {0};
    const double x[] = {1, 2}, y[] = {3, 4};
    char before[4096];
    atr_text page = {0};

    (void)state;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    must(atr_bars_png(&(atr_bars){names[1], names[2], names, values, COUNT}, "bars.png"));
    must(atr_matrix_png(&(atr_matrix){names[0], names[1], names[3], names, values, COUNT}, "matrix.png"));
    for (int k = 0; k < COUNT; k++) {
        const atr_curve curve = {names[k], x, y, 2, true, true};
        must(atr_plot_svg(&(atr_plot){names[k], names[k], names[k], &curve, 1, .from_zero = true}, &page));
    }
    assert_false(atr_path_exists("stolen"));
    assert_int_equal(chdir(before), 0);
    atr_free(page.bytes);
}

static void a_drawing_is_made_while_the_caller_goes_on(void **state)
{
    const double x[] = {1, 2, 3}, y[] = {3, 2, 1};
    const atr_curve curve = {"loss", x, y, 3, false, false};
    const atr_plot plot = {"Loss", "epoch", "loss", &curve, 1, .from_zero = false},
                   empty = {"Loss", "x", NULL, NULL, 0, .from_zero = false};
    const char *const path = scratch_text("%s/loss.png", folder);
    atr_drawing *drawing = NULL;

    (void)state;
    must(atr_drawing_begin(&plot, path, &drawing));
    assert_non_null(drawing);
    must(atr_drawing_end(&drawing, false)); /* whether or not it is done by now */
    must(atr_drawing_end(&drawing, true));
    assert_null(drawing);
    must(atr_drawing_end(&drawing, true));
    atr_image image = read_png(path);
    assert_int_equal(image.width, 800);
    atr_image_free(&image);
    assert_int_equal(atr_drawing_begin(&empty, path, &drawing), ATR_ERR_USAGE);
    assert_null(drawing);
}

static void without_gnuplot_the_message_names_the_package(void **state)
{
    const char *const names[] = {"a"};
    const double values[] = {1};
    char *path = strdup(getenv("PATH"));

    (void)state;
    setenv("PATH", folder, 1);
    const atr_status status = atr_bars_png(&(atr_bars){"t", "x", names, values, 1}, "never.png");
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(status, ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "gnuplot-nox"));
    assert_false(atr_path_exists("never.png"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bars_are_as_long_as_their_values),
        cmocka_unit_test(the_matrix_has_a_colour_for_each_cell),
        cmocka_unit_test(one_class_and_very_many_are_drawn_too),
        cmocka_unit_test(names_never_become_commands),
        cmocka_unit_test(a_drawing_is_made_while_the_caller_goes_on),
        cmocka_unit_test(without_gnuplot_the_message_names_the_package),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
