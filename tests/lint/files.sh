#!/bin/sh
# files.sh PATTERN...: the files of the project that match, as git knows them; in a tree without git, as they lie there.
# A * also matches a slash, as in git's patterns.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(git rev-parse --show-toplevel 2> /dev/null)" = "$(pwd -P)" ]; then
    git ls-files -- "$@"
    exit
fi
find . -type d \( -path './build*' -o -name .git -o -name __pycache__ -o -name .pytest_cache \) -prune -o -type f -print | sed 's|^\./||' |
    LC_ALL=C sort | while IFS= read -r file; do
    for pattern in "$@"; do
        # shellcheck disable=SC2254 # it is a pattern
        case $file in $pattern) echo "$file" && break ;; esac
    done
done
