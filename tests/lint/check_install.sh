#!/bin/sh
# make install into a folder, with every place that can be named: what has to be there is, and no more; units and
# pkg-config file name the places as they will be; a C program compiles, links and runs with it; make uninstall leaves nothing.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
stage=$folder/stage
fail() { echo "check_install: $*" >&2; exit 1; }
# built anew, because the places are compiled in; not in the folder of the build that is being looked at
run() { env -u MLTOKEN_BUILD -u BUILD make -s -j2 BUILD="$folder/build" DESTDIR="$stage" prefix=/opt/there sysconfdir=/opt/settings systemduserunitdir=/opt/units systemdsystemunitdir=/opt/system sysusersdir=/opt/sysusers tmpfilesdir=/opt/tmpfiles pamconfigsdir=/opt/pam-configs "$@"; }

umask 027 # what is installed must not depend on it
run install > "$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
cat > "$folder/expected" << 'END'
opt/pam-configs/mltoken
opt/system/mltoken-agent@.service
opt/sysusers/mltoken.conf
opt/there/bin/mltoken
opt/there/bin/mltoken-agent
opt/there/include/mltoken.h
opt/there/lib/libmltoken.a
opt/there/lib/libmltoken.so
opt/there/lib/libmltoken.so.0
opt/there/lib/pkgconfig/mltoken.pc
opt/there/lib/security/pam_mltoken.so
opt/there/libexec/mltoken/mltoken-agent-main
opt/there/libexec/mltoken/mltoken-pam-import
opt/there/libexec/mltoken/mltoken-pam-login
opt/there/libexec/mltoken/mltoken-store-file
opt/there/libexec/mltoken/mltoken-store-keyring
opt/there/share/bash-completion/completions/mltoken
opt/there/share/doc/mltoken/examples/pam.conf
opt/there/share/doc/mltoken/examples/pam.d-sshd
opt/there/share/doc/mltoken/examples/pam.map
opt/there/share/doc/mltoken/examples/sandbox.conf
opt/there/share/doc/mltoken/examples/sshd_config.d-mltoken.conf
opt/there/share/fish/vendor_completions.d/mltoken.fish
opt/there/share/man/man1/mltoken-agent.1
opt/there/share/man/man1/mltoken.1
opt/there/share/man/man3/mltoken.3
opt/there/share/man/man5/mltoken.conf.5
opt/there/share/man/man8/pam_mltoken.8
opt/there/share/zsh/site-functions/_mltoken
opt/tmpfiles/mltoken.conf
opt/units/mltoken-agent.service
opt/units/mltoken-agent.socket
END
(cd "$stage" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort) > "$folder/found"
diff -u "$folder/expected" "$folder/found" >&2 || fail "other files than expected"
closed=$(find "$stage" ! -type l ! -perm -o=r)
[ -z "$closed" ] || fail "others cannot read $closed"

grep -qx 'ExecStart=/opt/there/bin/mltoken-agent' "$stage/opt/units/mltoken-agent.service" || fail "the unit starts another agent"
grep -qx 'ExecStart=/opt/there/bin/mltoken-agent' "$stage/opt/system/mltoken-agent@.service" || fail "the system's unit starts another agent"
grep -qx 'z /opt/settings/mltoken/pam.conf 0640 root _mltoken -' "$stage/opt/tmpfiles/mltoken.conf" || fail "tmpfiles.d names other settings"
if [ "$(id -u)" = 0 ]; then # a host on which both were read
    mkdir -p "$folder/tree/etc" "$folder/tree/run" "$folder/tree/opt/settings/mltoken"
    echo > "$folder/tree/opt/settings/mltoken/pam.conf"
    { systemd-sysusers --root="$folder/tree" "$stage/opt/sysusers/mltoken.conf" && systemd-tmpfiles --root="$folder/tree" --create "$stage/opt/tmpfiles/mltoken.conf"; } > "$folder/log" 2>&1 ||
        { cat "$folder/log" >&2; fail "sysusers.d or tmpfiles.d is not understood"; }
    group=$(sed -n 's/^_mltoken:x:\([0-9]*\):.*/\1/p' "$folder/tree/etc/group")
    found=$(cd "$folder/tree" && stat -c '%a %u %g %n' run/mltoken run/mltoken/handoff run/mltoken/rate opt/settings/mltoken/pam.conf)
    [ "$found" = "755 0 0 run/mltoken
700 0 0 run/mltoken/handoff
700 0 0 run/mltoken/rate
640 0 $group opt/settings/mltoken/pam.conf" ] || fail "the folders of the PAM module are: $found"
fi
grep -q 'map = /opt/settings/mltoken/pam.map' "$stage/opt/there/share/doc/mltoken/examples/pam.conf" || fail "the example names another map"
grep -q '/opt/there/libexec/mltoken/mltoken-pam-login --map --config /opt/settings' "$stage/opt/there/share/doc/mltoken/examples/pam.conf" || fail "the example names another program"
grep -q 'MLTOKEN_CONFIG=/opt/settings/mltoken/%i/config' "$stage/opt/system/mltoken-agent@.service" || fail "the system's unit names other settings"
! grep -rn '@[a-z]*@' "$stage/opt/units" "$stage/opt/system" "$stage/opt/there/lib/pkgconfig" || fail "a placeholder is left"
for program in bin/mltoken-agent libexec/mltoken/mltoken-agent-main; do
    grep -qa /opt/settings/mltoken/config "$stage/opt/there/$program" || fail "$program reads other settings"
    ! grep -qaF -e "$folder" -e "$PWD/" "$stage/opt/there/$program" || fail "the place of the build is in $program"
done
grep -qa /opt/there/libexec "$stage/opt/there/bin/mltoken-agent" || fail "the agent does not look for its second program in its folder"
grep -qa /opt/there/bin "$stage/opt/there/bin/mltoken" || fail "the command does not look for the agent in its folder"
! grep -qaF -e "$folder" -e "$PWD/" "$stage/opt/there/bin/mltoken" "$stage/opt/there/lib/libmltoken.so.0" || fail "the place of the build is in a program"

# as an application uses it
export PKG_CONFIG_PATH="$stage/opt/there/lib/pkgconfig"
[ "$(pkg-config --variable=prefix mltoken)" = /opt/there ] || fail "mltoken.pc names another prefix"
[ "$(pkg-config --modversion mltoken)" = "$("$stage/opt/there/bin/mltoken" --version | awk '{ print $NF }')" ] || fail "mltoken.pc has another version"
cat > "$folder/application.c" << 'END'
#include <mltoken.h>
#include <stdio.h>
int main(void)
{
    return puts(mltoken_strerror(MLTOKEN_ENOAGENT)) < 0;
}
END
export PKG_CONFIG_SYSROOT_DIR="$stage"
# shellcheck disable=SC2046
gcc -Werror -o "$folder/application" "$folder/application.c" $(pkg-config --cflags --libs mltoken)
said=$(LD_LIBRARY_PATH="$stage/opt/there/lib" "$folder/application")
[ "$said" = "no agent is running" ] || fail "the application says: $said"
readelf -d "$folder/application" | grep -q 'NEEDED.*libmltoken\.so\.0' || fail "the application is not linked with libmltoken.so.0"
# the same without the shared library
# shellcheck disable=SC2046
gcc -Werror -o "$folder/alone" "$folder/application.c" -I"$stage/opt/there/include" "$stage/opt/there/lib/libmltoken.a" $(pkg-config --libs-only-l json-c)
"$folder/alone" > /dev/null

run uninstall > "$folder/log"
left=$(find "$stage" ! -type d)
[ -z "$left" ] || fail "make uninstall left $left"
[ ! -e "$stage/opt/there/share/doc/mltoken" ] || fail "make uninstall left the folder of the examples"
grep -q .local/state/mltoken "$folder/log" || fail "make uninstall does not say where the user's state is"
