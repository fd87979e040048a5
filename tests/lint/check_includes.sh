#!/bin/sh
# Who may include whom: the rooms of the house and the arrows between them. A quoted include names a file of ours, an
# angle-bracketed one a library's.
set -eu
cd "$(dirname "$0")/../.."
bad=$(mktemp)
trap 'rm -f "$bad"' EXIT

say() { echo "check_includes: $*" >> "$bad"; }

# FILES PATTERN MESSAGE: no file of the glob may include what matches.
forbid() {
    # shellcheck disable=SC2086
    grep -nE "^ *# *include *[\"<]($2)" $1 /dev/null | while IFS= read -r line; do say "$line: $3"; done
}

libraries='curl/|openssl/|sodium|glib|libsecret/|systemd/|security/'
forbid "lib/common/*.[ch]" "$libraries|qrencode|token/|grant/|acquire/|server/|authority/|store/|loop/" "common knows libc and json-c alone"
forbid "lib/*.[ch]" "$libraries|qrencode|token/|grant/|acquire/|server/|authority/|store/|loop/" "the library knows common alone"
forbid "agent/cli/*.[ch]" "$libraries|token/|grant/|acquire/|server/|authority/|store/|loop/" "the command knows the library and common alone"
forbid "pam/import*.[ch]" "curl/|openssl/|sodium|glib|libsecret/|systemd/|security/|qrencode|token/|grant/|acquire/|server/|authority/|store/|loop/" "the import knows the library and common alone"
forbid "pam/[!i]*.[ch]" "curl/|openssl/|sodium|glib|libsecret/|systemd/|json|qrencode|token/|grant/|acquire/|server/|authority/|store/|loop/" "the PAM module knows libpam, libc and common alone"
forbid "agent/loop/*.[ch]" "token/|grant/|acquire/|server/|authority/|store/" "the loop knows nobody"
forbid "agent/token/*.[ch]" "grant/|acquire/|server/|authority/|store/" "tokens know nobody above them"
forbid "agent/grant/*.[ch]" "acquire/|server/|store/|loop/|authority/(http|documents|jw|id_token)" "a grant is a machine without I/O"
forbid "agent/authority/*.[ch]" "grant/|acquire/|server/|store/" "authorities know nobody above them"
forbid "agent/store/*.[ch]" "acquire/|server/|authority/|grant/" "stores know nobody above them"
forbid "agent/acquire/*.[ch]" "server/" "the conductor knows no server"
forbid "agent/server/*.[ch]" "grant/|store/|authority/(http|documents|metadata|answer)" "the server knows no OAuth"

# libraries that only one place may know
only() { # PATTERN ALLOWED-FILES MESSAGE
    tests/lint/files.sh 'agent/*.[ch]' 'lib/*.[ch]' 'pam/*.[ch]' | while IFS= read -r file; do
        echo "$file" | grep -qE "^($2)$" && continue
        grep -nE "^ *# *include *<($1)" "$file" | while IFS= read -r line; do say "$file:$line: $3"; done
    done
}
only "curl/" "agent/authority/http[a-z_]*\.[ch]" "curl is for authority/http alone"
only "openssl/" "agent/authority/(assertion|key_pair|digest|jwk|jws|id_token|http[a-z_]*)\.[ch]|agent/(hardening|wiping)\.[ch]" "OpenSSL is for assertion, key_pair, digest, jwk, jws, id_token, http and hardening"
only "qrencode" "agent/cli/[a-z_]*\.[ch]|agent/login/qr_rows\.c" "QR codes are for those who show an address"
only "sodium" "agent/seal\.[ch]|agent/store/(sealed[a-z_]*|file_main)\.[ch]" "libsodium is for the lock and the sealed files"
only "security/" "pam/[a-z_]*\.[ch]" "PAM is the module's"
only "systemd/|glib|libsecret/" "agent/store/keyring[a-z_]*\.[ch]" "the agent links no GLib and no libsystemd"

# objects of one archive must not share a name, and a grant must not do I/O by itself
tests/lint/files.sh 'agent/*.c' 'lib/*.c' | grep -v '^agent/cli/' | sed 's|.*/||' | sort | uniq -d |
    while IFS= read -r name; do say "$name: two files of this name end in one archive"; done
grep -nE '\b(socket|connect|open|fopen|read|write|time|clock_gettime|getrandom|rand|getenv)\(' agent/grant/*.c |
    while IFS= read -r line; do say "$line: a grant does no I/O and has no clock"; done
grep -nE '\bgetenv\(' lib/*.c lib/common/*.c pam/*.c /dev/null | while IFS= read -r line; do say "$line: secure_getenv in the library"; done
grep -nE '\bmemset\(' agent/*.c agent/*/*.c lib/*.c lib/common/*.c pam/*.c | while IFS= read -r line; do say "$line: explicit_bzero wipes, initialisers clear"; done
grep -nE '\b(open|openat|socket|accept4|pipe2|epoll_create1|timerfd_create|signalfd|inotify_init1|socketpair|memfd_create)\(' agent/*.c agent/*/*.c lib/*.c lib/common/*.c pam/*.c |
    grep -vE 'CLOEXEC|kept across exec on purpose|static |^[^:]*:[0-9]+: *(\*|/\*)|_open\(|[a-z]_(socket|open|pipe2)\(' | while IFS= read -r line; do say "$line: a descriptor without CLOEXEC"; done

[ ! -s "$bad" ] || { cat "$bad" >&2; exit 1; }
