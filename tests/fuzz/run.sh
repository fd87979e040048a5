#!/bin/sh
# run.sh SECONDS: each harness of this folder for so long, under libFuzzer with the address and undefined-behaviour
# sanitizers. What it learns stays in build-fuzz/corpus, what it finds in build-fuzz/found. Ends with a line that counts.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
build="build-fuzz"
passed=0
failed=0
make --no-print-directory -j2 fuzz-programs CC=clang BUILD=$build SAN=fuzzer-no-link,address,undefined CFLAGS=-Wno-unused-variable

for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    set -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$build/found/$name-"
    dictionary=tests/fuzz/${name#fuzz_}.dict
    [ ! -f "$dictionary" ] || set -- "$@" -dict="$dictionary"
    mkdir -p "$build/corpus/$name" "$build/found"
    set -- "$@" "$build/corpus/$name"
    seeds=tests/fuzz/seeds/${name#fuzz_}
    [ ! -d "$seeds" ] || set -- "$@" "$seeds"
    # it has to have run: a harness that turns everything away is no test
    if "$build/fuzz/$name" "$@" < /dev/null > "$build/$name.log" 2>&1 && runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log") &&
        [ "${runs:-0}" -gt 1000 ]; then
        passed=$((passed + 1))
        echo "$name: $runs runs, $(find "$build/corpus/$name" -type f | wc -l) inputs kept"
    else
        failed=$((failed + 1))
        echo "$name: FAILED, see $build/$name.log and $build/found"
        tail -n 60 "$build/$name.log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
