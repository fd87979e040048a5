#!/bin/sh
# mltoken.conf(5) and pam_mltoken(8) describe each key of their tables, and no other; the pages are sound mdoc.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sed -n 's/^ *KEY(KEY_[A-Z_]*, "\([a-z_]*\)".*/\1/p' "$here/agent/keys.c" | sort > "$folder/table"
sed -n '/^\.Ss Keys of every profile/,/^\.Ss Secrets/s/^\.It Ic //p' "$here/lib/man/mltoken.conf.5" | tr -d ' ' | tr ',' '\n' |
    sort > "$folder/page"
[ "$(wc -l < "$folder/table")" -ge 23 ] || { echo "check_man_keys: the table was not understood" >&2; exit 1; }
diff -u "$folder/table" "$folder/page" >&2 || { echo "check_man_keys: agent/keys.c and mltoken.conf(5) differ" >&2; exit 1; }

# the module's keys and its page
sed -n 's/^ *\(ARGUMENT\|TEXT_KEY\|FLAG_KEY\|NUMBER_KEY\|WORD_KEY\)("\([a-z_]*\)".*/\2/p' "$here/pam/settings.c" | sort > "$folder/table"
sed -n '/^\.Sh KEYS/,/^\.Sh THE MAP/s/^\.It Ic //p' "$here/lib/man/pam_mltoken.8" | sort > "$folder/page"
[ "$(wc -l < "$folder/table")" -ge 23 ] || { echo "check_man_keys: the module's keys were not understood" >&2; exit 1; }
diff -u "$folder/table" "$folder/page" >&2 || { echo "check_man_keys: pam/settings.c and pam_mltoken(8) differ" >&2; exit 1; }

for page in pam_mltoken.8 mltoken.conf.5 mltoken-agent.1; do
    # other pages of ours are not installed here, and some systems ship no pages at all
    if mandoc -T lint "$here/lib/man/$page" 2> /dev/null | grep -v 'referenced manual not found'; then
        exit 1
    fi
done
