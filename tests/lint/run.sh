#!/bin/sh
# make lint: layout, rules of the house, analysers, pages, units, scripts. Ends with a line that counts what ran.
set -u
cd "$(dirname "$0")/../.." || exit 1
export MLTOKEN_BUILD="${MLTOKEN_BUILD:-$PWD/build}"
passed=0
failed=0

check() { # NAME COMMAND...
    name=$1
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s\n' "lint: $name" "$output" | head -100
    fi
}

files() { tests/lint/files.sh "$@"; }
each() { # TOOL: two source files at a time
    files 'lib/*.c' 'agent/*.c' 'pam/*.c' | xargs -n 1 -P 2 tests/lint/one.sh "$1"
}
layout() { files '*.c' '*.h' | xargs clang-format --dry-run -Werror; }
long_files() {
    files 'lib/*.c' 'agent/*.c' 'pam/*.c' | xargs wc -l |
        awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines, grown past one noun"; bad = 1 } END { exit bad }'
}
machine_paths() { # nothing of the place where it was written; pages and tests show homes of people that there are not
    # shellcheck disable=SC2046
    ! grep -nE '/(work|root|home/[a-z]+)/' $(files '*' | grep -vE '^(tests/(lint/run\.sh|unit/|system/|fuzz/)|README\.md|lib/man/)') /dev/null
}
# Off: nullPointerOutOfMemory, it takes no notice of our checks of malloc() in the caller · varFuncNullUB, log_event() ends
# with NULL, which POSIX has as a pointer · funcArgOrderDifferent, prototypes leave names out where the type says it all ·
# missingInclude, the system's headers · memleak in config_text.c, where it cannot see _cleanup_ on a variable that is
# named like a function.
cppcheck_all() {
    files 'lib/*.c' 'agent/*.c' 'pam/*.c' | xargs cppcheck -q --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
        --suppress=missingInclude --suppress=nullPointerOutOfMemory --suppress=varFuncNullUB --suppress=funcArgOrderDifferent \
        --suppress=memleak:agent/config_text.c -D_GNU_SOURCE -Ilib/common -Ilib -Iagent -Ipam
}
page_sound() { # the pages that it names are ours too, and not installed here
    ! mandoc -T lint -W warning "$1" | grep -v 'referenced manual not found' | grep .
}
scripts() { files '*.sh' .ci/run | xargs shellcheck; }

check layout layout
for script in tests/lint/check_*; do
    check "$script" "$script"
done
check analyser each gcc
check cppcheck cppcheck_all
check clang-tidy each clang-tidy
check shellcheck scripts
for page in lib/man/*.[1-8]; do
    check "$page" page_sound "$page"
done
check "file lengths" long_files
check "machine paths" machine_paths
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
