#!/bin/sh
# Makes .venv where it is missing and installs AtlasLoop into it: `install.sh base`, or `install.sh dev` for
# the tools of the tests too. Does nothing where that was done already for this pyproject.toml and constraints.txt.
#
# .venv/.installed says what was installed. It comes last, by a rename of .venv/.unfinished, so an interrupted
# install leaves no .installed, and what it left is thrown away: pip takes a half-copied package for a whole one.
#
# Environment: PYTHON (see choose_python.sh), TORCH_INDEX (one more package index), MIN_FREE_GB (12).
set -eu
cd "$(dirname "$0")/.."
extras=$1

say() { printf '%s\n' "$*" >&2; }

# What .installed holds: where it was made (scripts carry the path), from which files, with which extras.
stamp() { printf '%s\n%s\n%s\n' "$(pwd -P)" "$(cat pyproject.toml constraints.txt | cksum)" "$1"; }

is_installed() {
    [ -f .venv/.installed ] || return 1
    .venv/bin/python -c "" >/dev/null 2>&1 || return 1
    found=$(cat .venv/.installed)
    [ "$found" = "$(stamp "$extras")" ] || [ "$found" = "$(stamp dev)" ]
}

is_half_made() {
    [ -e .venv ] || [ -L .venv ] || return 1
    [ -e .venv/.unfinished ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1
}

require_disk() {
    # A device or folder name may hold spaces: the free space is the field before the percentage.
    free_kb=$(df -Pk . | awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+%$/) print $(i - 1) }')
    used_kb=$(du -sk .venv 2>/dev/null | awk '{ print $1 }')
    have_gb=$(((${free_kb:-0} + ${used_kb:-0}) / 1000000))
    [ "$have_gb" -ge "${MIN_FREE_GB:-12}" ] && return
    say "The install needs ${MIN_FREE_GB:-12} GB of disk (PyTorch with CUDA is most of it), but here are $have_gb GB."
    say "Free some, or move this folder to a larger disk; with CPU-only PyTorch 4 GB will do:"
    say "  make demo MIN_FREE_GB=4 TORCH_INDEX=URL   (see make help)"
    exit 1
}

install_packages() {
    target=.
    [ "$extras" = dev ] && target=".[dev]"
    set -- -c constraints.txt
    [ -n "${TORCH_INDEX:-}" ] && set -- "$@" --extra-index-url "$TORCH_INDEX"
    .venv/bin/python -m pip install --disable-pip-version-check "$@" -e "$target" && return
    say "The install did not finish; pip says why above. Run the same command again to start it afresh."
    exit 1
}

is_installed && exit 0
require_disk
if is_half_made; then
    say "An earlier install did not finish; making .venv again."
    rm -rf .venv
fi
if [ ! -e .venv ]; then
    python=$(sh .ci/choose_python.sh)
    say "Installing with $python into .venv; a first time takes minutes and some GB of downloads."
    mkdir .venv
    : >.venv/.unfinished
    "$python" -m venv .venv
fi
stamp "$extras" >.venv/.unfinished
rm -f .venv/.installed
install_packages
mv -f .venv/.unfinished .venv/.installed
