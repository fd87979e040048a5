#!/bin/sh
# A grant is known in its own room alone: agent/grant and its table. Whoever else must tell grants apart asks the table
# (struct grant), so that one more grant touches nobody. For people its name stands in a list here and there: those must
# be the table's.
set -eu
cd "$(dirname "$0")/../.."
bad=$(mktemp)
trap 'rm -f "$bad"' EXIT

say() { echo "check_grants: $*" >> "$bad"; }

symbols=$(sed -n '/table\[\] = {/,/^};/p' agent/grant/grant.c | grep -o 'grant_[a-z_]*')
names=$(for symbol in $symbols; do
    grep -h -A1 "^const struct grant $symbol = {" agent/grant/*.c | sed -n 's/.*\.name = "\(.*\)",/\1/p'
done | sort)
[ "$(echo "$names" | wc -l)" -eq "$(echo "$symbols" | wc -l)" ] || say "a grant of the table has no name, or the names cannot be read"

# The command is another program. It has a table of its own, of what it can begin a profile with, and imports the
# settings of one product.
allowed='agent/grant/.*|agent/cli/config_(template|import)\.c'
# these words are also a secret's, a dialect's and C's
words=$(echo "$names" | grep -vxE 'password|mlserver|static' | paste -sd '|')
tests/lint/files.sh 'agent/*.[ch]' 'lib/*.[ch]' 'pam/*.[ch]' | grep -vE "^($allowed)$" | while IFS= read -r file; do
    grep -nE "\"($words)\"|\b($(echo "$symbols" | paste -sd '|'))\b" "$file" |
        while IFS= read -r line; do say "$file:$line: knows a grant by name; give struct grant what it asks for"; done
done

for name in $names; do
    grep -qE "^\.It Cm $name\$" lib/man/mltoken.conf.5 || say "mltoken.conf(5) does not describe grant = $name"
done
list=$(echo "$names" | paste -sd ' ')
for completions in lib/completions/*; do
    grep -qF "$list" "$completions" || say "$completions does not offer: $list"
done

[ ! -s "$bad" ] || { cat "$bad" >&2; exit 1; }
