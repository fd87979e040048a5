#!/bin/sh
# The units as they are installed: accepted by systemd without a word, and no more exposed than they were.
# Thresholds are systemd-analyze's scores times ten (0 is best, 100 worst), for its version 252.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# verify wants the program to be there
mkdir "$folder/bin" "$folder/plain" "$folder/sandbox" "$folder/run"
export XDG_RUNTIME_DIR="$folder/run" # it also wants a user's session, which a build host has not
cp /bin/true "$folder/bin/mltoken-agent"

unit() { # FOLDER
    cp "$here/systemd/mltoken-agent.socket.in" "$1/mltoken-agent.socket"
    sed "s|@bindir@|$folder/bin|" "$here/systemd/mltoken-agent.service.in" > "$1/mltoken-agent.service"
    if grep -q '@[a-z]*@' "$1/mltoken-agent.service"; then
        echo "check_units: a placeholder is left" >&2
        exit 1
    fi
}

check() { # FOLDER THRESHOLD
    # man pages are checked where they are built: here they are not installed
    said=$(systemd-analyze --user verify --man=no "$1/mltoken-agent.socket" "$1/mltoken-agent.service" 2>&1) || {
        echo "$said" >&2
        exit 1
    }
    if [ -n "$said" ]; then
        echo "$said" >&2
        exit 1
    fi
    systemd-analyze security --offline=yes --threshold="$2" --no-pager "$1/mltoken-agent.service" > "$1/score" || {
        cat "$1/score" >&2
        exit 1
    }
    tail -n 1 "$1/score"
}

unit "$folder/plain"
unit "$folder/sandbox"
# --offline reads no drop-ins of a file: the same lines are appended, as the manager does
grep -v '^#' "$here/systemd/mltoken-agent.service.d/sandbox.conf" >> "$folder/sandbox/mltoken-agent.service"
check "$folder/plain" 63
check "$folder/sandbox" 18
