#!/bin/sh
# The programs as they were built: position independent, full RELRO, no executable stack, stack protector, fortified.
set -eu
build=${MLTOKEN_BUILD:-build}
for file in mltoken mltoken-agent mltoken-agent-main mltoken-store-file mltoken-store-keyring libmltoken.so.0 mltoken-pam-login mltoken-pam-import pam_mltoken.so; do
    fail() { echo "check_hardening: $file: $1" >&2; exit 1; }
    dynamic=$(readelf -Wd "$build/$file")
    headers=$(readelf -Wl "$build/$file")
    symbols=$(readelf -Ws --dyn-syms "$build/$file")
    readelf -h "$build/$file" | grep -q 'Type:.*DYN' || fail "not position independent"
    echo "$headers" | grep -q GNU_RELRO || fail "no RELRO"
    echo "$dynamic" | grep -qE 'BIND_NOW|NOW' || fail "lazy binding"
    echo "$headers" | grep -E 'GNU_STACK' | grep -q 'RWE' && fail "executable stack"
    echo "$dynamic" | grep -qE 'RPATH|RUNPATH' && fail "a search path for libraries"
    echo "$dynamic" | grep -q TEXTREL && fail "text relocations"
    echo "$symbols" | grep -q __stack_chk_fail || fail "no stack protector"
    echo "$symbols" | grep -q '_chk@' || fail "not fortified"
done
# What we compile is marked for control-flow protection. The programs are not: libc's start files of Debian 12 are not
# marked, and the linker marks only what is so in all its parts.
find "$build/agent" "$build/lib" "$build/pam" -name '*.o' | while IFS= read -r object; do
    readelf -n "$object" 2>/dev/null | grep -q 'IBT, SHSTK' || { echo "check_hardening: $object: no control-flow protection" >&2; exit 1; }
done
echo "hardening: 9 files as they should be"
