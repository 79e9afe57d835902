#!/bin/sh
# Installs what pip cannot, from Debian: VLFeat, a C compiler, and Python's headers and venv.
# Usage: setup-system.sh PYTHON
set -eu

python=$1
missing() {
    if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        echo python3.11 python3.11-venv python3.11-dev
    else
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3.11-venv
        "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
            echo python3.11-dev
    fi
    command -v cc >/dev/null 2>&1 || echo gcc libc6-dev
    [ -e /usr/include/vl/dsift.h ] || [ -e /usr/local/include/vl/dsift.h ] || echo libvlfeat-dev
}

want=$(missing | tr '\n' ' ')
[ -n "$want" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: $want(Debian's names), and this is not Debian: install them with your system's" >&2
    echo "package manager (VLFeat is version 0.9.21), then run make again" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "missing: $want. You are not root: type" >&2
    echo "    sudo apt-get update && sudo apt-get install -y $want" >&2
    echo "then run make again" >&2
    exit 1
fi
log=$(mktemp)
# shellcheck disable=SC2086  # a list of package names
if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $want; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "apt-get could not install $want; the reason is above; run make again to carry on" >&2
    exit 1
fi
rm -f "$log"
want=$(missing | tr '\n' ' ')
[ -z "$want" ] || { echo "still missing after apt-get: $want" >&2; exit 1; }
