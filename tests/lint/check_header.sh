#!/bin/sh
# The public header compiles alone, as C89 and as C++, and names nothing that is not ours.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include <mltoken.h>\nint main(void) { return mltoken_strerror(0) == 0; }\n' > "$folder/alone.c"
cp "$folder/alone.c" "$folder/alone.cc"

for standard in c89 c99 c11; do
    gcc -std=$standard -pedantic -Wall -Wextra -Wstrict-prototypes -Werror -Ilib -c -o "$folder/alone.o" "$folder/alone.c"
done
for standard in c++98 c++17; do
    g++ -std=$standard -pedantic -Wall -Wextra -Werror -Ilib -c -o "$folder/alone.o" "$folder/alone.cc"
done
# it is C++'s linkage that would show here: the name must not be mangled
nm -u "$folder/alone.o" | grep -qw mltoken_strerror || { echo "check_header: not extern \"C\"" >&2; exit 1; }
# twice in one file
printf '#include <mltoken.h>\n#include <mltoken.h>\nint main(void) { return 0; }\n' > "$folder/twice.c"
gcc -Werror -Ilib -c -o "$folder/twice.o" "$folder/twice.c"
# macros and names that an application would trip over
foreign=$(grep -oE '^ *# *define +[A-Za-z_][A-Za-z_0-9]*' lib/mltoken.h | awk '{ print $NF }' | sed 's/^define//' | grep -v '^MLTOKEN_' || true)
[ -z "$foreign" ] || { echo "check_header: defines $foreign" >&2; exit 1; }
