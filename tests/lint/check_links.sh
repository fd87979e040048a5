#!/bin/sh
# What each program is linked with, and no other: "the agent links no GLib" is a fact of the file, not of the intention.
set -eu
build=${MLTOKEN_BUILD:-build}
status=0

# FILE ALLOWED...: the libraries it names itself.
needs() {
    file=$1
    shift
    readelf -d "$build/$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while IFS= read -r library; do
        case " $* " in *" ${library%%.so*} "*) ;; *) echo "check_links: $file is linked with $library" >&2; exit 1 ;; esac
    done || status=1
}
needs mltoken libjson-c libqrencode libc ld-linux-x86-64
needs mltoken-agent libc ld-linux-x86-64
needs mltoken-agent-main libcurl libjson-c libcrypto libssl libsodium libc ld-linux-x86-64
needs mltoken-pam-login libcurl libjson-c libcrypto libssl libsodium libc ld-linux-x86-64
needs mltoken-pam-import libjson-c libc ld-linux-x86-64
needs mltoken-store-file libsodium libjson-c libc ld-linux-x86-64
needs mltoken-store-keyring libsecret-1 libgio-2.0 libgobject-2.0 libglib-2.0 libjson-c libc ld-linux-x86-64
needs pam_mltoken.so libpam libc ld-linux-x86-64
needs libmltoken.so.0 libjson-c libc ld-linux-x86-64
exit $status
