#!/bin/sh
# mltoken.conf(5) describes each key of the table, and no other; both pages are sound mdoc.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sed -n 's/^ *KEY(KEY_[A-Z_]*, "\([a-z_]*\)".*/\1/p' "$here/agent/keys.c" | sort > "$folder/table"
sed -n '/^\.Ss Keys of every profile/,/^\.Ss Secrets/s/^\.It Ic //p' "$here/lib/man/mltoken.conf.5" | tr -d ' ' | tr ',' '\n' |
    sort > "$folder/page"
[ "$(wc -l < "$folder/table")" -ge 23 ] || { echo "check_man_keys: the table was not understood" >&2; exit 1; }
diff -u "$folder/table" "$folder/page" >&2 || { echo "check_man_keys: agent/keys.c and mltoken.conf(5) differ" >&2; exit 1; }

for page in mltoken.conf.5 mltoken-agent.1; do
    # other pages of ours are not installed here, and some systems ship no pages at all
    if mandoc -T lint "$here/lib/man/$page" 2> /dev/null | grep -v 'referenced manual not found'; then
        exit 1
    fi
done
