#ifndef ATR_APPS_REPORT_H
#define ATR_APPS_REPORT_H

#include "apps/runread.h"
#include "apps/segmenter.h"
#include "core/text.h"
#include "io/dataset.h"

/* Parts of the report page, appended as HTML. Failed allocations show in `page->status`. */

/* Text with &, < , > and " made safe. */
void atr_report_escape(const char *text, atr_text *page);

void atr_report_begin(const char *run, const char *when, atr_text *page);
void atr_report_end(atr_text *page);

/* Steps, evaluations, best score, speed. */
void atr_report_summary(const atr_run_history *history, atr_text *page);
/* IoU, recall, precision by class, and the means. */
void atr_report_scores(const atr_scores *scores, const atr_model_info *info, atr_text *page);
/* Each row in shares of its truth. */
void atr_report_confusion(const atr_confusion *confusion, const atr_model_info *info, atr_text *page);
/* The first `count` validation pictures: picture, truth, prediction. */
atr_status atr_report_samples(atr_segmenter *segmenter, const atr_dataset *dataset,
                              const atr_model_info *info, int64_t count, atr_text *page);

#endif
