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
        printf '%s\n' "lint: $name" "$output" | head -60
    fi
}

sources=$(git ls-files 'lib/*.c' 'lib/common/*.c' 'agent/*.c' 'agent/*/*.c')
layout=$(git ls-files '*.c' '*.h')
flags="-std=gnu11 -D_GNU_SOURCE -DMLTOKEN_VERSION=\"\" -DMLTOKEN_SYSCONFDIR=\"\" -DMLTOKEN_BINDIR=\"\" -include lib/common/banned.h
       -iquote lib/common -iquote lib -iquote agent $(pkg-config --cflags libcurl json-c libcrypto)"

analyse() { # gcc's own analyser, file by file; it looks into cleanup attributes better since version 12
    for source in $sources; do
        # shellcheck disable=SC2086
        gcc $flags -O1 -fanalyzer -Wno-analyzer-fd-leak -Werror -S -o /dev/null "$source" || return 1
    done
}
long_files() {
    # shellcheck disable=SC2086
    wc -l $sources | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines, grown past one noun"; bad = 1 } END { exit bad }'
}
machine_paths() { # nothing of the place where it was written
    ! git grep -nE '/(work|root|home/[a-z]+)/' -- ':!tests/lint/run.sh' ':!*.1' ':!*.5' ':!README.md' ':!tests/unit' ':!tests/system'
}

# shellcheck disable=SC2086
check layout clang-format --dry-run -Werror $layout
check includes tests/lint/check_includes.sh
check links tests/lint/check_links.sh
check hardening tests/lint/check_hardening.sh
for script in tests/lint/check_*.sh; do
    case $script in */check_includes.sh | */check_links.sh | */check_hardening.sh) continue ;; esac
    check "$script" "$script"
done
check analyser analyse
# shellcheck disable=SC2086
check cppcheck cppcheck -q --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability --suppress=missingInclude \
    --suppress=nullPointerOutOfMemory -D_GNU_SOURCE -Ilib/common -Ilib -Iagent $sources
# shellcheck disable=SC2086
check clang-tidy clang-tidy --quiet --warnings-as-errors='*' $sources -- $flags
# shellcheck disable=SC2046
check shellcheck shellcheck $(git ls-files '*.sh') .ci/run
for page in lib/man/*.[1-8]; do
    check "$page" sh -c "! mandoc -T lint -W warning $page | grep -v 'referenced manual not found' | grep ."
done
check "file lengths" long_files
check "machine paths" machine_paths
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
