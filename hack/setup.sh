#!/usr/bin/env bash
# Prepares the checkout for every other make target: system packages, .venv, the control plane's binaries.
# Repeating it is cheap: each step is skipped when its result is there. `setup.sh peers` adds the benchmark's peers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.8
VENV_PYTHON=.venv/bin/python
STAMP=.venv/.voxfleet-setup
PATH="$PATH:/usr/sbin:/usr/local/sbin" # where sshd lives, also for ordinary users

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
modern_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if has "$name" && modern_python "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed; $("${PYTHON:-python3}" --version 2>&1 || true) was found. Install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

# One line for each thing that is missing: "<Debian package> <Homebrew formula, or - > <what it is for>".
missing() {
    has sshd || echo "openssh-server - the private sshd of the demo and the tests"
    has ssh-keygen || echo "openssh-client - the tests' keys"
    has ffmpeg || echo "ffmpeg ffmpeg audio clips in the tests and benchmarks"
    has espeak-ng || echo "espeak-ng espeak-ng speech for the tests and benchmarks"
    [ "$(uname -s)" = Linux ] || return 0 # elsewhere mlx-audio-io comes as a wheel and MLX has its own BLAS
    has chromium || has google-chrome || echo "chromium - the tests that open reports in a browser"
    has strace || echo "strace - the test of which files a lane opens"
    has c++ || echo "build-essential - compiles mlx-audio-io"
    has cmake || echo "cmake - compiles mlx-audio-io"
    has pkg-config || echo "pkg-config - compiles mlx-audio-io"
    local library
    for library in libavformat libavcodec libavutil libswresample; do
        pkg-config --exists "$library" 2>/dev/null || echo "$library-dev - mlx-audio-io"
    done
    pkg-config --exists soxr 2>/dev/null || echo "libsoxr-dev - mlx-audio-io"
    if has dpkg-query; then
        # MLX's own BLAS works on Linux, several times slower.
        compgen -G '/usr/lib/*/openblas-pthread/libopenblas.so.0' >/dev/null || echo "libopenblas0-pthread - fast MLX"
        "$(find_python)" -c 'import ensurepip' 2>/dev/null || echo "python3-venv - .venv"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_debian_packages() {
    say "installing Debian packages: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
    case " $* " in
    *" openssh-server "*)
        # Only the program is wanted: installing it here must not open this machine to the network.
        if [ -d /run/systemd/system ]; then
            as_root systemctl disable --now ssh.service ssh.socket
            say "openssh-server was installed for its program; its system service is switched off"
        fi
        ;;
    esac
}

system_packages() {
    local lacking
    lacking="$(missing)"
    [ -n "$lacking" ] || return 0
    if has apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
        # shellcheck disable=SC2046 # one package a word
        install_debian_packages $(cut -d ' ' -f 1 <<<"$lacking" | sort -u)
        lacking="$(missing)"
        [ -n "$lacking" ] || return 0
    fi
    {
        echo "These are missing on this machine:"
        while read -r debian brew purpose; do
            if [ "$(uname -s)" = Darwin ]; then
                [ "$brew" = - ] && echo "  $purpose" || echo "  $purpose: brew install $brew"
            else
                echo "  $purpose: $debian (the name of Debian's package)"
            fi
        done <<<"$lacking"
    } >&2
    fail "install them and try again"
}

# uv reads no pip settings: hand over those that say where packages come from and whom to trust.
pip_setting() { "$VENV_PYTHON" -m pip config get "global.$1" 2>/dev/null || true; }
uv_settings() {
    local index certificates links
    index="${PIP_INDEX_URL:-$(pip_setting index-url)}"
    certificates="${PIP_CERT:-$(pip_setting cert)}"
    links="${PIP_FIND_LINKS:-$(pip_setting find-links)}"
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ -z "$certificates" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"
    [ ! -d "$links" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$links}"
}

fingerprint() {
    { "$VENV_PYTHON" --version; pwd; cat requirements.lock pyproject.toml hack/setup.sh; } | cksum
}

virtual_environment() {
    if [ ! -x "$VENV_PYTHON" ] || ! modern_python "$VENV_PYTHON"; then
        local python
        python="$(find_python)"
        say "creating .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv </dev/null
    fi
    if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]; then
        return
    fi
    rm -f "$STAMP"
    if [ "$("$VENV_PYTHON" -m uv --version 2>/dev/null | cut -d ' ' -f 2)" != "$UV_VERSION" ]; then
        "$VENV_PYTHON" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" </dev/null
    fi
    say "installing the locked Python packages"
    uv_settings
    "$VENV_PYTHON" -m uv pip install --quiet --python "$VENV_PYTHON" --require-hashes -r requirements.lock </dev/null
    "$VENV_PYTHON" -m uv pip install --quiet --python "$VENV_PYTHON" --no-deps -e . </dev/null
    # The development rig is not in the wheel: a .pth file makes it importable in this environment only.
    printf '%s\n' "$PWD/hack" >"$("$VENV_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/voxfleet_dev.pth"
    # A confined lane may write no file: what it imports and nothing else does would be compiled at each of its starts.
    env -u PYTHONDONTWRITEBYTECODE "$VENV_PYTHON" -c \
        'import voxfleet_agent.worker.main, voxfleet_agent.engine.transcriber, voxfleet_agent.engine.synthesizer'
    fingerprint >"$STAMP"
}

# What checks FOCUS exports. A test asks for it; here its absence only is said.
focus_environment() {
    uv_settings
    "$VENV_PYTHON" -m voxfleet_dev.focus_environment || say "the test of FOCUS exports will fail"
}

# What `voxfleet-agent bench io` compares with: nothing else needs it.
peers() {
    uv_settings
    "$VENV_PYTHON" -m uv pip install --quiet --python "$VENV_PYTHON" --require-hashes -r requirements-bench.lock </dev/null
}

if [ "${1:-}" = peers ]; then
    peers
    exit
fi
system_packages
virtual_environment
focus_environment
exec "$VENV_PYTHON" -m voxfleet_dev.binaries
