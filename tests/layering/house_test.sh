#!/bin/sh
# The front door and the manual keep their word, as far as can be seen without building anything.
set -u
cd "$ATR_SOURCE_DIR" || exit 1
failed=0

# want EXIT WHAT COMMAND...: the command ends with this exit code.
want()
{
    expected=$1
    what=$2
    shift 2
    "$@" >/dev/null 2>&1
    got=$?
    if [ "$got" -ne "$expected" ]; then
        printf '%s: exit code %s, expected %s\n' "$what" "$got" "$expected"
        failed=1
    fi
}

want 0 'run help' ./run help
want 0 'run without a command gives help' ./run
want 2 'run refuses an unknown command' ./run nonsense
for script in run cmake/setup.sh cmake/demo.sh tests/*/*.sh; do
    want 0 "$script is a shell script" sh -n "$script"
done
(cd / && "$ATR_SOURCE_DIR/run" help) | grep -q 'usage: ./run' || { echo 'run fails in another folder'; failed=1; }

# Each package that set-up installs is explained.
for package in $(sed -n '/^packages="/,/"$/p' cmake/setup.sh | tr -d '"' | sed 's/^packages=//') unzip python3-pip; do
    grep -q "\`$package\`" docs/dependencies.md || { echo "docs/dependencies.md does not name $package"; failed=1; }
done
for sum in $(grep -oE '[0-9a-f]{64}' cmake/setup.sh); do
    grep -q "$sum" docs/dependencies.md || { echo "docs/dependencies.md does not have the sum $sum"; failed=1; }
done

# Each code that a message of ours carries is in the manual, and a test expects it.
for code in $(grep -rhoE '[^A-Za-z0-9][FLPMTRI]0[0-9]("|:)' apps core dist dnn io --include='*.c' | grep -oE '[A-Z]0[0-9]' | sort -u); do
    grep -q "^| $code |" docs/messages.md || { echo "docs/messages.md does not explain $code"; failed=1; }
    grep -rqE "[\"'].*$code" tests --include='*.c' --include='*.sh' || { echo "no test expects $code"; failed=1; }
done

# Links between pages lead somewhere.
for page in README.md docs/*.md; do
    for link in $(grep -oE '\]\([^)#]+' "$page" | sed 's/^](//' | grep -v '^https\{0,1\}:'); do
        [ -e "$(dirname "$page")/$link" ] || { echo "$page: the link $link leads nowhere"; failed=1; }
    done
done

exit $failed
