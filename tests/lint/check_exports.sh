#!/bin/sh
# What libmltoken exports = what mltoken.h declares = what mltoken(3) shows = what the symbol map lists.
set -eu
cd "$(dirname "$0")/../.."
build=${MLTOKEN_BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CC=${CC:-gcc}

nm -D --defined-only "$build/libmltoken.so.0" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort > "$work/exported"
"$CC" -E -P lib/mltoken.h | tr '\n' ' ' | sed 's/typedef[^;]*mltoken_prompt_fn[^;]*;//' |
    grep -o 'mltoken_[a-z_]*(' | tr -d '(' | sort -u > "$work/declared"
sed -n 's/^\.Fo \(mltoken_[a-z_]*\)$/\1/p' lib/man/mltoken.3 | sort > "$work/described"
sed -n 's/^ *\(mltoken_[a-z_]*\);$/\1/p' lib/mltoken.map | sort > "$work/mapped"

[ -s "$work/declared" ] || { echo "exports: no declarations found" >&2; exit 1; }
status=0
for list in exported described mapped; do
    diff -u "$work/declared" "$work/$list" >&2 || { echo "exports: $list is not what mltoken.h declares" >&2; status=1; }
done

# the PAM module is a guest: what it exports is what PAM calls
nm -D --defined-only "$build/pam_mltoken.so" | awk '{ print $2, $3 }' | sort > "$work/module"
for phase in acct_mgmt authenticate close_session open_session setcred; do echo "T pam_sm_$phase"; done > "$work/phases"
diff -u "$work/phases" "$work/module" >&2 || { echo "exports: pam_mltoken.so exports something else than pam_sm_*" >&2; status=1; }
# ... and what it calls leaves the process alone
for name in alarm setitimer signal getenv longjmp wait wait3 exit abort openlog chroot setenv putenv setlocale pthread_create system popen; do
    ! nm -D --undefined-only "$build/pam_mltoken.so" | grep -qE " $name(@|\$)" ||
        { echo "exports: pam_mltoken.so calls $name(), which is not for a guest" >&2; status=1; }
done

# every constant of the header has its line in the page
sed -n 's/^#define \(MLTOKEN_E[A-Z]*\) .*/\1/p' lib/mltoken.h > "$work/constants"
while read -r name; do
    grep -q "^\.It Er $name\$" lib/man/mltoken.3 || { echo "exports: mltoken(3) does not tell of $name" >&2; status=1; }
done < "$work/constants"

[ $status -eq 0 ] && echo "exports: $(wc -l < "$work/declared") functions, the same in header, library, map and page"
exit $status
