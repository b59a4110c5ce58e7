#!/usr/bin/env bash
# The Python environment of this checkout: .venv, with the versions of launch/constraints.txt and aedist itself.
#
#   ./launch/environment.sh          what training needs
#   ./launch/environment.sh test     and the tools that check the code
#
# launch/demo and launch/test source this file and call set_up. It does nothing where nothing changed since the last
# complete set-up, and can be interrupted at any moment: the stamp that says "complete" is written last, and what an
# interrupted installation left half unpacked is found by its size and installed anew. Packages come from wherever
# this machine's pip is configured to look. PYTHON=/path/to/python3 chooses the Python that .venv is made with.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv

# set_up [test]: make or complete .venv and put its commands on PATH; fails with one line that says how to go on.
set_up() {
    local extra=${1:-} started=$SECONDS stamp wanted
    stamp=$VENV/complete${extra:+-$extra}
    if wanted=$(fingerprint) && [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        echo "set-up: .venv is complete, nothing to do"
    else
        make_environment && install_packages "$extra" || return 1
        wanted=$(fingerprint) || return 1
        echo "$wanted" >"$stamp"
        # the test extra only adds to what training needs
        echo "$wanted" >"$VENV/complete"
        echo "set-up: done in $((SECONDS - started)) s"
    fi
    export PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV"
}

# What the environment depends on, as one hash: the files that say what is installed, and where the checkout lies.
# Fails where .venv has no working Python.
fingerprint() {
    "$VENV/bin/python" -I -c '
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
files = root / "pyproject.toml", root / "launch" / "constraints.txt"
print(hashlib.sha256(b"\0".join([sys.argv[1].encode(), *(file.read_bytes() for file in files)])).hexdigest())
' "$ROOT" 2>/dev/null
}

# .venv with a working pip, unless there is one.
make_environment() {
    local python
    if is_usable; then
        return
    fi
    python=$(find_python) || return 1
    if [[ -e $VENV ]]; then
        echo "set-up: .venv is incomplete or was made elsewhere, replacing it"
    fi
    echo "set-up 1/2: making .venv with $("$python" --version) (about 10 seconds)"
    if ! "$python" -m venv --clear "$VENV" </dev/null; then
        echo "set-up: $python could not make $VENV; look at the lines above, then run the same command again" >&2
        return 1
    fi
}

# Whether .venv has a Python >= 3.11 and pip, and was made where it lies: a moved or copied one starts another Python.
is_usable() {
    "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
        grep -qsF "$VENV" "$VENV/bin/activate"
}

# The name of a Python >= 3.11 that can make environments with pip in them.
find_python() {
    local name found=""
    for name in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
        if [[ -n ${PYTHON:-} ]]; then
            echo "set-up: PYTHON=$PYTHON is not a Python >= 3.11 with venv; name another, or unset PYTHON" >&2
            return 1
        fi
        found+=$("$name" -c 'import sys; print(" %s (%d.%d)" % ((sys.argv[1],) + sys.version_info[:2]))' "$name" \
            2>/dev/null || true)
    done
    echo "set-up: needs Python >= 3.11 with its venv module, found${found:- no Python}; install python3 and" \
        "python3-venv, or run again with PYTHON=/path/to/python3" >&2
    return 1
}

# pip install, its output to .venv/pip.log, which is shown where it fails.
install_packages() {
    local extra=$1 log=$VENV/pip.log broken
    echo "set-up 2/2: installing pinned packages (first time: 2 to 10 minutes, 6 GB; log: .venv/pip.log)"
    rm -f "$VENV"/complete*
    : >"$log"
    run_pip -c "$ROOT/launch/constraints.txt" -e "$ROOT${extra:+[$extra]}" || return 1
    broken=$(half_installed) || return 1
    if [[ -n $broken ]]; then
        echo "set-up: an interrupted installation left these incomplete, installing them anew: ${broken//$'\n'/ }"
        # shellcheck disable=SC2086  # one word a package
        run_pip --ignore-installed --no-deps $broken || return 1
    fi
}

run_pip() {
    if ! "$VENV/bin/python" -m pip install --no-user --no-input --disable-pip-version-check --progress-bar off \
        "$@" </dev/null >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        echo "set-up: pip failed, its last lines are above (all: .venv/pip.log); run the same command again to go" \
            "on, or remove .venv to start afresh" >&2
        return 1
    fi
}

# NAME==VERSION of every package without a record of its files, or with a file missing or of another length.
half_installed() {
    "$VENV/bin/python" -I -c '
import sysconfig
from importlib.metadata import distributions

def is_whole(file):
    path = file.locate()
    return file.size is None or file.suffix == ".pyc" or (path.is_file() and path.stat().st_size == file.size)

folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
for package in distributions(path=sorted(folders)):
    if package.files is None or not all(map(is_whole, package.files)):
        print(package.name + "==" + package.version)
'
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    set_up "$@"
fi
