#include "apps/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Up to this many classes the matrix has room for names across and for a decimal. */
enum { FEW_CLASSES = 8, SOME_CLASSES = 14 };

static const char style[] =
    "*{box-sizing:border-box}"
    "body{font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;color:#1d2733;"
    "background:#fff;max-width:78rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}"
    "h1{font-size:1.55rem;margin:0}h2{font-size:1.15rem;margin:2.4rem 0 .8rem;padding-bottom:.25rem;"
    "border-bottom:1px solid #d8dee6}"
    ".when,.note{color:#5b6775;margin:.2rem 0 1rem}.note{font-size:.9rem}"
    ".missing{background:#fff6dd;padding:.6rem .9rem;border-left:4px solid #d9a400;white-space:pre-line}"
    ".tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.1rem 0}"
    ".tiles div{background:#f3f6f9;border-radius:6px;padding:.55rem 1rem;min-width:9rem}"
    ".tiles b{display:block;font-size:1.35rem;line-height:1.3}.tiles span{color:#5b6775;font-size:.85rem}"
    ".curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(27rem,1fr));gap:.5rem 1.5rem}"
    ".curves figure{margin:0}.curves svg{display:block;width:100%;height:auto}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .65rem;text-align:right;border-bottom:1px solid #eceff3;white-space:nowrap}"
    "th{font-weight:600;color:#5b6775}.name{text-align:left}"
    ".mean td{font-weight:600;border-top:2px solid #d8dee6}"
    "td.bar{width:9rem;min-width:5rem;padding-left:0;padding-right:0}td.bar "
    "div{background:#2a6f97;height:.75rem;"
    "border-radius:2px}"
    "i{display:inline-block;width:.85rem;height:.85rem;margin-inline-end:.45rem;border:1px solid #98a2ad;"
    "border-radius:2px;vertical-align:-1px}"
    ".confusion td{font-size:.82rem;padding:.22rem .4rem;min-width:2.6rem;border:1px solid #fff}"
    ".confusion td.name{padding-right:.8rem}.confusion.up thead th{vertical-align:bottom}"
    ".confusion.up thead th span{writing-mode:vertical-rl;transform:rotate(180deg);display:inline-block}"
    ".samples{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.35rem .5rem;max-width:66rem}"
    ".samples b{color:#5b6775;font-weight:600}.samples p{grid-column:1/-1;margin:.5rem 0 0;font-size:.85rem;"
    "color:#5b6775}"
    ".samples img{display:block;width:100%;background:#eee}.samples img.ids{image-rendering:pixelated}"
    "pre{background:#f3f6f9;padding:.8rem 1rem;overflow-x:auto;border-radius:6px;font-size:.85rem}"
    "summary{cursor:pointer}";

void atr_report_escape(const char *text, atr_text *page)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&':
            atr_text_append(page, "&amp;");
            break;
        case '<':
            atr_text_append(page, "&lt;");
            break;
        case '>':
            atr_text_append(page, "&gt;");
            break;
        case '"':
            atr_text_append(page, "&quot;");
            break;
        default:
            if ((unsigned char)*text < ' ' && *text != '\n')
                atr_text_append(page, " ");
            else
                atr_text_append_bytes(page, text, 1);
        }
}

void atr_report_begin(const char *run, const char *when, int64_t reload_s, atr_text *page)
{
    atr_text_append(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta name=\"viewport\" content=\"width=device-width\">");
    if (reload_s > 0)
        atr_text_append(page, "<meta http-equiv=\"refresh\" content=\"%lld\">", (long long)reload_s);
    atr_text_append(page, "<title>");
    atr_report_escape(run, page);
    atr_text_append(page, "</title><style>%s</style></head><body>\n<h1>", style);
    atr_report_escape(run, page);
    atr_text_append(page, "</h1>\n<p class=\"when\">atrous report, %s%s</p>\n", when,
                    reload_s > 0 ? "; the run goes on, and this page follows it" : "");
}

void atr_report_end(atr_text *page)
{
    atr_text_append(page, "</body></html>\n");
}

void atr_report_missing(const char *what, const char *why, atr_text *page)
{
    atr_text_append(page, "<p class=\"missing\">");
    atr_report_escape(what, page);
    atr_text_append(page, ": ");
    atr_report_escape(why, page);
    atr_text_append(page, "</p>\n");
}

/* "87.3", or "n/a" for what has no value. */
static void append_percent(double fraction, atr_text *page)
{
    if (isfinite(fraction))
        atr_text_append(page, "%.1f", 100 * fraction);
    else
        atr_text_append(page, "n/a");
}

/* 1234567 as "1 234 567", with spaces at which no line breaks. */
static void append_count(int64_t value, atr_text *page)
{
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long)value);

    for (int i = 0; i < length; i++)
        atr_text_append(page, "%s%c", i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-' ? "&#8239;" : "",
                        digits[i]);
}

static void begin_tile(atr_text *page)
{
    atr_text_append(page, "<div><b>");
}

static void end_tile(const char *label, atr_text *page)
{
    atr_text_append(page, "</b><span>");
    atr_report_escape(label, page);
    atr_text_append(page, "</span></div>\n");
}

static const atr_run_eval *best_eval(const atr_run_history *h)
{
    const atr_run_eval *best = NULL;

    for (int64_t i = 0; i < h->eval_count; i++)
        if (isfinite(h->evals[i].miou) && (best == NULL || h->evals[i].miou > best->miou))
            best = &h->evals[i];
    return best;
}

/* Mean speed of the steps that have one; NaN where none has. */
static double mean_speed(const atr_run_history *h)
{
    double sum = 0;
    int64_t count = 0;

    for (int64_t i = 0; i < h->step_count; i++)
        if (isfinite(h->images_per_s[i])) {
            sum += h->images_per_s[i];
            count++;
        }
    return sum / (double)count;
}

static void append_last_loss(const atr_run_history *h, atr_text *page)
{
    if (h->step_count == 0)
        return;
    begin_tile(page);
    atr_text_append(page, isfinite(h->loss[h->step_count - 1]) ? "%.4f" : "n/a", h->loss[h->step_count - 1]);
    end_tile("loss of the last step", page);
}

static void append_best(const atr_run_history *h, atr_text *page)
{
    const atr_run_eval *best = best_eval(h);
    char label[96];

    if (best == NULL)
        return;
    begin_tile(page);
    append_percent(best->miou, page);
    atr_text_append(page, " %%");
    snprintf(label, sizeof label, "best mIoU on val, epoch %.0f", best->epoch);
    end_tile(label, page);
    begin_tile(page);
    append_percent(best->pixel_accuracy, page);
    atr_text_append(page, " %%");
    end_tile("pixel accuracy there", page);
}

void atr_report_summary(const atr_run_history *h, atr_text *page)
{
    const double speed = mean_speed(h);

    atr_text_append(page, "<div class=\"tiles\">\n");
    append_best(h, page);
    append_last_loss(h, page);
    begin_tile(page);
    append_count(h->step_count, page);
    end_tile("steps", page);
    if (isfinite(speed)) {
        begin_tile(page);
        atr_text_append(page, "%.1f", speed);
        end_tile("pictures per second", page);
    }
    atr_text_append(page, "</div>\n");
    if (h->data_count > 0) {
        atr_text_append(page, "<p class=\"note\">Trained on ");
        atr_report_escape(h->data[0], page);
        if (h->data_count > 1)
            atr_text_append(page, " and %lld more", (long long)h->data_count - 1);
        atr_text_append(page, "</p>\n");
    }
}

static void append_swatch(const uint8_t rgb[3], atr_text *page)
{
    atr_text_append(page, "<i style=\"background:#%02x%02x%02x\"></i>", rgb[0], rgb[1], rgb[2]);
}

/* Colour and name of a class, or its number where it has no name. */
static void append_class(const atr_model_info *info, int64_t k, atr_text *page)
{
    append_swatch(info->palette[k], page);
    if (info->class_names[k][0] != '\0')
        atr_report_escape(info->class_names[k], page);
    else
        atr_text_append(page, "class %lld", (long long)k);
}

/* A score and a bar as long as it, in two cells. */
static void append_score(double fraction, atr_text *page)
{
    atr_text_append(page, "<td>");
    append_percent(fraction, page);
    atr_text_append(page, "</td><td class=\"bar\"><div style=\"width:%.1f%%\"></div></td>",
                    isfinite(fraction) ? 100 * fraction : 0);
}

static void append_score_row(const atr_scores *s, const atr_model_info *info, int64_t k, atr_text *page)
{
    atr_text_append(page, "<tr><td class=\"name\">");
    append_class(info, k, page);
    atr_text_append(page, "</td>");
    append_score(s->iou[k], page);
    append_score(s->recall[k], page);
    append_score(s->precision[k], page);
    atr_text_append(page, "<td>");
    append_percent(s->f1[k], page);
    atr_text_append(page, "</td><td>");
    append_count(s->truth_pixels[k], page);
    atr_text_append(page, "</td></tr>\n");
}

static void append_mean_row(const atr_scores *s, atr_text *page)
{
    atr_text_append(page, "<tr class=\"mean\"><td class=\"name\">mean</td>");
    append_score(s->miou, page);
    append_score(s->mean_recall, page);
    append_score(s->mean_precision, page);
    atr_text_append(page, "<td>");
    append_percent(s->mean_f1, page);
    atr_text_append(page, "</td><td></td></tr>\n");
}

void atr_report_scores(const atr_scores *s, const atr_model_info *info, atr_text *page)
{
    atr_text_append(page, "<p>mIoU <b>");
    append_percent(s->miou, page);
    atr_text_append(page, " %%</b> over %lld of %lld classes, pixel accuracy <b>", (long long)s->present,
                    (long long)s->classes);
    append_percent(s->pixel_accuracy, page);
    atr_text_append(page, " %%</b>, frequency-weighted IoU <b>");
    append_percent(s->frequency_iou, page);
    atr_text_append(page, " %%</b>.");
    if (s->present < s->classes) {
        atr_text_append(page, " A class absent from truth and prediction has no IoU and is left out of the "
                              "mean; counted as 0 it would make the mIoU ");
        append_percent(s->miou_all, page);
        atr_text_append(page, " %%.");
    }
    atr_text_append(page, "</p>\n<div class=\"wide\"><table class=\"scores\">\n<thead><tr><th class=\"name\">"
                          "class</th><th>IoU %%</th><th></th><th>recall %%</th><th></th><th>precision %%</th>"
                          "<th></th><th>F1 %%</th><th>pixels of truth</th></tr></thead>\n");
    for (int64_t k = 0; k < s->classes; k++)
        append_score_row(s, info, k, page);
    append_mean_row(s, page);
    atr_text_append(page, "</table></div>\n");
}

/* Share of its row; nothing where no pixel went, so that the eye finds the others. */
static void append_cell(int64_t count, int64_t total, bool right, int decimals, atr_text *page)
{
    const double share = total > 0 ? (double)count / (double)total : 0;

    atr_text_append(page, "<td style=\"background:rgba(%s,%.3f)%s\" title=\"%lld pixels\">",
                    right ? "42,111,151" : "200,85,61", 0.9 * share, share > 0.6 ? ";color:#fff" : "",
                    (long long)count);
    if (count > 0)
        atr_text_append(page, "%.*f", decimals, 100 * share);
    atr_text_append(page, "</td>");
}

static void append_confusion_row(const atr_confusion *c, const atr_model_info *info, int64_t truth,
                                 atr_text *page)
{
    const int64_t *row = c->counts + truth * c->classes;
    int64_t total = 0;

    for (int64_t k = 0; k < c->classes; k++)
        total += row[k];
    atr_text_append(page, "<tr><td class=\"name\">");
    append_class(info, truth, page);
    atr_text_append(page, "</td>");
    for (int64_t k = 0; k < c->classes; k++)
        append_cell(row[k], total, k == truth, c->classes <= SOME_CLASSES, page);
    atr_text_append(page, "</tr>\n");
}

void atr_report_confusion(const atr_confusion *c, const atr_model_info *info, atr_text *page)
{
    atr_text_append(
        page,
        "<h2>Where the pixels of each class went, percent</h2>\n<p class=\"note\">A row is a class of the "
        "truth and adds up to 100; a column is what the network said.</p>\n"
        "<div class=\"wide\"><table class=\"confusion%s\">\n<thead><tr><th class=\"name\"></th>",
        c->classes > FEW_CLASSES ? " up" : "");
    for (int64_t k = 0; k < c->classes; k++) {
        atr_text_append(page, "<th><span>");
        append_class(info, k, page);
        atr_text_append(page, "</span></th>");
    }
    atr_text_append(page, "</tr></thead>\n");
    for (int64_t truth = 0; truth < c->classes; truth++)
        append_confusion_row(c, info, truth, page);
    atr_text_append(page, "</table></div>\n");
}

void atr_report_config(const char *yaml, atr_text *page)
{
    atr_text_append(page, "<h2>Options</h2>\n<details><summary>config.yaml</summary><pre>");
    atr_report_escape(yaml, page);
    atr_text_append(page, "</pre></details>\n");
}
