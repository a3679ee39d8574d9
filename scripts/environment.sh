# Sourced by the other scripts: a virtual environment of our own in .venv, made once and kept up to date.
#
# usage: . scripts/environment.sh; ensure_environment EXTRAS     (EXTRAS as in pyproject.toml, may be empty)
#
# In CI it holds exactly what .ci/requirements.txt lists, by hash; scripts/lock renews that.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

ensure_environment() {
    local extras=$1 stamp want
    stamp=$venv/installed-for${extras:+-$extras}
    want=$(sha256sum "$root/pyproject.toml" "$root/dnslb/__init__.py" ${CI:+"$root/.ci/requirements.txt"}; echo "$root")
    [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    local python
    for python in python3.13 python3.12 python3.11 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        python=
    done
    [ -n "$python" ] || { echo "Python 3.11 or newer is missing: apt-get install python3" >&2; exit 1; }
    echo "installing into $venv (once) ..." >&2
    if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        echo "$python cannot make a virtual environment: apt-get install python3-venv" >&2
        exit 1
    fi
    if [ -n "${CI:-}" ]; then
        _pip --require-hashes --requirement "$root/.ci/requirements.txt" || exit 1
        _pip --no-deps --no-build-isolation --editable "$root" || exit 1
    else
        _pip --editable "$root${extras:+[$extras]}" || exit 1
    fi
    printf '%s\n' "$want" >"$stamp"
}

_pip() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
