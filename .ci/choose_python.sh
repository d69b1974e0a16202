#!/bin/sh
# Prints the path of the first Python that can carry AtlasLoop; where there is none, says why and what to do.
#
# Candidates: $PYTHON alone where it is set, else those below. Each is run, since a name on the PATH may be a
# shim that fails, a version that is too old or too new, or a Python without the modules that make a .venv.

# Prints "use PATH", or what is wrong. Python 2 must be able to parse it.
probe='
import platform, sys
version = "%d.%d.%d" % tuple(sys.version_info[:3])
if not (3, 11) <= tuple(sys.version_info[:2]) <= (3, 12):
    print("is version " + version)
elif sys.maxsize < 2**32 or (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
    print("is version " + version + ", but built for another processor than PyTorch supports")
else:
    try:
        import ensurepip, venv
        print("use " + sys.executable)
    except ImportError:
        print("is version " + version + ", but has no venv or ensurepip module")
'

verdict_on() {
    command -v "$1" >/dev/null 2>&1 || { echo "is not there"; return; }
    "$1" -E -c "$probe" 2>/dev/null </dev/null || echo "does not run"
}

tried=""
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.12 python3.11 python3 python
fi
for candidate in "$@"; do
    verdict=$(verdict_on "$candidate")
    case $verdict in
        "use "*) printf '%s\n' "${verdict#use }"; exit 0 ;;
    esac
    tried="$tried
  $candidate $verdict"
done

cat >&2 <<MESSAGE
AtlasLoop needs Python 3.11 or 3.12 (64-bit) with the modules venv and ensurepip. Tried:$tried
What to do:
  Debian, Ubuntu   sudo apt-get install python3.11 python3.11-venv   (or python3.12 python3.12-venv)
  macOS            brew install python@3.12
  elsewhere        install it any way you like, and name it: make demo PYTHON=/path/to/python3.12
Then run make again.
MESSAGE
exit 1
