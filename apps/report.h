#ifndef ATR_APPS_REPORT_H
#define ATR_APPS_REPORT_H

#include "apps/runread.h"
#include "apps/segmenter.h"
#include "core/text.h"
#include "io/dataset.h"

/* Parts of the report page, appended as HTML. Failed allocations show in `page->status`. Texts of files are escaped. */

/* Text with &, <, > and " made safe, control characters as spaces; a newline stays. */
void atr_report_escape(const char *text, atr_text *page);

/* Head with the name of the run and the time of the report; the page's end. `reload_s` > 0: the browser loads the page again after
 * so many seconds. */
void atr_report_begin(const char *run, const char *when, int64_t reload_s, atr_text *page);
void atr_report_end(atr_text *page);

/* A line that says why a part of the page is not there. */
void atr_report_missing(const char *what, const char *why, atr_text *page);

/* Best score, last loss, steps, speed. */
void atr_report_summary(const atr_run_history *history, atr_text *page);
/* IoU, recall, precision, pixels by class, and the means. */
void atr_report_scores(const atr_scores *scores, const atr_model_info *info, atr_text *page);
/* Each row in shares of its truth. */
void atr_report_confusion(const atr_confusion *confusion, const atr_model_info *info, atr_text *page);
/* `count` validation pictures, spread over the split: picture, truth, prediction. Large ones are shown smaller. */
atr_status atr_report_samples(atr_segmenter *segmenter, const atr_dataset *dataset,
                              const atr_model_info *info, int64_t count, atr_text *page);
/* The options of the run, folded away. */
void atr_report_config(const char *yaml, atr_text *page);

/* RFC 4648. */
void atr_report_base64(const void *bytes, size_t size, atr_text *page);

#endif
