#!/bin/sh
# The program's front: what it says of itself, wrong words, help that fits a terminal, output that could not be written.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
    printf '%s\n' "$*"
    exit 1
}

# expect CODE WORDS COMMAND...: exit code, and WORDS somewhere in what it says.
expect()
{
    wanted=$1 words=$2
    shift 2
    code=0
    "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    [ "$code" -eq "$wanted" ] || fail "$*: exit $code, wanted $wanted: $(cat "$work/err")"
    grep -qF -e "$words" "$work/out" "$work/err" || fail "$*: no '$words' in: $(cat "$work/out" "$work/err")"
}

expect 2 'Usage: atrous COMMAND' "$ATROUS"
expect 0 'Usage: atrous COMMAND' "$ATROUS" --help
expect 0 'atrous 0.' "$ATROUS" --version
expect 2 "did you mean 'predict'?" "$ATROUS" predcit
expect 2 'atrous --help' "$ATROUS" xyzzy
expect 2 'did you mean --overlay' "$ATROUS" predict m.h5 a.png -o d --overlya
expect 2 'unknown option' "$ATROUS" info --frobnicate

commands=$("$ATROUS" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -w)" -ge 10 ] || fail "too few commands: $commands"
for command in $commands; do
    expect 0 "Usage: atrous $command" "$ATROUS" "$command" --help
    long=$(awk 'length > 80' "$work/out")
    [ -z "$long" ] || fail "help of $command is wider than 80 columns: $long"
    grep -q "^| \[$command\]" "$ATR_SOURCE_DIR/docs/commands.md" || fail "docs/commands.md lacks $command"
    expect 2 'unknown option' "$ATROUS" "$command" --no-such-option
done

# Output that cannot be written is a failure.
for word in doctor --help --version; do
    code=0
    "$ATROUS" "$word" >/dev/full 2>"$work/err" || code=$?
    [ "$code" -eq 1 ] || fail "$word >/dev/full: exit $code"
    grep -q 'cannot write the output' "$work/err" || fail "$(cat "$work/err")"
done
