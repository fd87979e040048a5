#!/bin/sh
# The units as they are installed: accepted by systemd without a word, and no more exposed than they were.
# Thresholds are systemd-analyze's scores times ten (0 is best, 100 worst), for its version 252.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# verify wants the program to be there
mkdir "$folder/bin" "$folder/plain" "$folder/sandbox" "$folder/system" "$folder/run"
export XDG_RUNTIME_DIR="$folder/run" # it also wants a user's session, which a build host has not
cp /bin/true "$folder/bin/mltoken-agent"

fill() { # SOURCE TARGET
    sed -e "s|@bindir@|$folder/bin|" -e "s|@sysconfdir@|/etc|" "$here/systemd/$1" > "$2"
    if grep -q '@[a-z]*@' "$2"; then
        echo "check_units: a placeholder is left in $1" >&2
        exit 1
    fi
}

unit() { # FOLDER
    cp "$here/systemd/mltoken-agent.socket.in" "$1/mltoken-agent.socket"
    fill mltoken-agent.service.in "$1/mltoken-agent.service"
}

check() { # THRESHOLD MANAGER UNIT...: the last one is scored
    threshold=$1 manager=$2
    shift 2
    # man pages are checked where they are built: here they are not installed
    said=$(systemd-analyze "$manager" verify --man=no "$@" 2>&1) || {
        echo "$said" >&2
        exit 1
    }
    if [ -n "$said" ]; then
        echo "$said" >&2
        exit 1
    fi
    for scored in "$@"; do :; done
    systemd-analyze security --offline=yes --threshold="$threshold" --no-pager "$scored" > "$folder/score" || {
        cat "$folder/score" >&2
        exit 1
    }
    tail -n 1 "$folder/score"
}

# what systemd gives no points for
for service in mltoken-agent.service.in mltoken-agent@.service.in; do
    grep -qx 'MemorySwapMax=0' "$here/systemd/$service" || {
        echo "check_units: $service lets the agent's memory be swapped out" >&2
        exit 1
    }
done

unit "$folder/plain"
unit "$folder/sandbox"
# --offline reads no drop-ins of a file: the same lines are appended, as the manager does
grep -v '^#' "$here/systemd/mltoken-agent.service.d/sandbox.conf" >> "$folder/sandbox/mltoken-agent.service"
check 63 --user "$folder/plain/mltoken-agent.socket" "$folder/plain/mltoken-agent.service"
check 18 --user "$folder/sandbox/mltoken-agent.socket" "$folder/sandbox/mltoken-agent.service"
# of a template systemd looks at an instance
fill mltoken-agent@.service.in "$folder/system/mltoken-agent@.service"
cp "$folder/system/mltoken-agent@.service" "$folder/system/mltoken-agent@daemon.service"
check 15 --system "$folder/system/mltoken-agent@daemon.service"
