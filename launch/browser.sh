#!/usr/bin/env bash
# A browser for the tests that look at reports: Chromium, from the distribution's packages.
#
#   ./launch/browser.sh
#
# launch/test sources this file and calls install_browser. It installs something only where it may and can: as root, on
# Debian or what descends from it, by apt-get. Elsewhere it says why not, and those tests are skipped with their reason.

# install_browser: have a browser on PATH. Fails, in one line that says why, where there is none and none can be had.
install_browser() {
    local name started=$SECONDS log
    for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
        if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
            echo "browser: $name is there"
            return
        fi
    done
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "browser: none found, and only root on Debian may install one here; the tests that need it are skipped" >&2
        return 1
    fi
    echo "browser: installing chromium with apt-get (half a minute to two minutes)"
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
        </dev/null >"$log" 2>&1 || ! chromium --version >/dev/null 2>&1; then
        tail -n 5 "$log" >&2
        rm -f -- "$log"
        echo "browser: chromium could not be installed; the tests that need it are skipped" >&2
        return 1
    fi
    rm -f -- "$log"
    echo "browser: chromium installed in $((SECONDS - started)) s"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    install_browser
fi
