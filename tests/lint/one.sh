#!/bin/sh
# one.sh gcc|clang-tidy FILE: one source file through one analyser, with the flags of the build that matter to it.
set -eu
cd "$(dirname "$0")/../.."
tool=$1
file=$2
# no quotes in here: it is split at spaces
libraries=$(pkg-config --cflags libcurl json-c libcrypto libqrencode libsodium libsecret-1)
# shellcheck disable=SC2086
set -- -std=gnu11 -D_GNU_SOURCE '-DMLTOKEN_VERSION=""' '-DMLTOKEN_SYSCONFDIR=""' '-DMLTOKEN_BINDIR=""' '-DMLTOKEN_LIBEXECDIR=""' \
    -include lib/common/banned.h -iquote lib/common -iquote lib -iquote agent -iquote pam $libraries

case $tool in
gcc)
    # At -O0 it sees the code as it was written, not what is left of it. What gcc 12 is wrong about, file by file: it loses
    # sight of a pointer that was stored in what a parameter points to, in a list or in an array at an index it does not
    # know, and calls that a leak. `make check SAN=address` would see a true one in the same places.
    case $file in
    agent/acquire/conductor.c | agent/config.c | agent/config_problem.c | agent/grant/redirect_answer.c | agent/server/methods_person.c | agent/store/memory.c | \
        agent/store/sealed_folder.c | agent/token/request.c | pam/settings.c)
        set -- "$@" -Wno-analyzer-malloc-leak ;;
    esac
    exec gcc "$@" -O0 -fanalyzer -Werror -S -o /dev/null "$file"
    ;;
clang-tidy)
    # one file a process: with several, clang 14 forgets what va_start() is after the first (valist.Uninitialized).
    # Its count of what it did not show goes to the standard error.
    case $file in
    agent/store/keyring*) checks='--checks=-bugprone-sizeof-expression' ;; # each g_clear_pointer() measures its pointer
    *) checks='' ;;
    esac
    clang-tidy --quiet ${checks:+"$checks"} "$file" -- "$@" 2> /dev/null
    ;;
esac
