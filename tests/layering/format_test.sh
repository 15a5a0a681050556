#!/bin/sh
# Every C source is as .clang-format says. Other versions than 14 break lines differently, so only 14 is asked.
set -u
cd "$ATR_SOURCE_DIR" || exit 1

for format in clang-format-14 clang-format; do
    case $("$format" --version 2>/dev/null) in
    *"version 14."*)
        find apps core dist dnn io tests docs -type f \( -name '*.c' -o -name '*.h' \) |
            xargs -r -d '\n' "$format" --dry-run -Werror --ferror-limit=1
        exit
        ;;
    esac
done

echo 'skipped: clang-format 14 is not installed'
exit 77
