#!/usr/bin/env bash
# Tests and measures on a machine with a GPU, without Rust and without a network:
#
#     benches/gpu_run.sh WHEELS [OUT]
#
# Installs the wheels of the folder WHEELS into a folder of their own, runs the tests that are
# marked gpu and benches/gpu.py, and leaves in OUT (gpu-results) report.txt with all that they
# printed, and gpu.json with every number. Takes 8 minutes at most. Ends with a summary, and with
# the status of the tests, or that of the bench where the tests passed.
#
# Wheels that both need:
#     s4_codec (pip wheel . --no-deps), polars, polars_runtime_32, pyarrow, numpy,
#     nvidia_libnvcomp_cu13 or _cu12 (one of them; driver 580 or later serves either)
# The tests alone:
#     pytest, iniconfig, pluggy, packaging, pygments
# Tests that need more (arro3_core, duckdb, hypothesis, nanoarrow, zstandard) are left out, and
# named, where it is absent.
# Optional: nvidia_nvcomp, of the same CUDA and the same version as libnvcomp, 6 or later, to
#     measure against; torch, to test beside.
#
# What PYTHON (python3) has already need not be among the wheels. BENCH_OPTIONS are more options
# of benches/gpu.py, such as --quick.
set -uo pipefail

INSTALL_SECONDS=40 SMOKE_SECONDS=12 DEVICE_TEST_SECONDS=100 TEST_SECONDS=70 BENCH_SECONDS=160
STEP_SECONDS=40

if (($# < 1 || $# > 2)); then
    echo "usage: benches/gpu_run.sh WHEELS [OUT]" >&2
    exit 2
fi
wheels=$(realpath -e -- "$1") || exit 2
out=${2:-gpu-results}
mkdir -p -- "$out"
out=$(realpath -e -- "$out")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 2

python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf -- "$site"' EXIT
report=$out/report.txt
: >"$report"

say() {
    printf '\n== %s\n' "$*" | tee -a "$report"
}

# Runs a command for so many seconds at most, and keeps what it prints.
run() {
    local seconds=$1 signal=$2
    shift 2
    timeout --signal="$signal" --kill-after=8 "$seconds" "$@" 2>&1 | tee -a "$report"
    return "${PIPESTATUS[0]}"
}

say "machine"
run 5 TERM uname -a
run 10 TERM nvidia-smi || echo "no nvidia-smi" | tee -a "$report"

say "install"
run "$INSTALL_SECONDS" TERM "$python" -m pip install --quiet --no-index --no-deps --no-compile \
    --no-cache-dir --disable-pip-version-check --target "$site" "$wheels"/*.whl || exit 1
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Another package may own the name nvidia, and hide what was just installed under it.
if [[ -d $site/nvidia && ! -e $site/nvidia/__init__.py ]]; then
    echo '__path__ = __import__("pkgutil").extend_path(__path__, __name__)' \
        >"$site/nvidia/__init__.py"
fi
run 20 TERM "$python" -c 'import s4_codec; print(s4_codec.__file__, s4_codec.gpu_status())' ||
    exit 1

[[ -d ../shared || ! -d shared ]] || cp -r shared .. # the real rows and vectors, if carried within

say "smoke"
for codec in NvcompZstd NvcompGDeflate NvcompBitcomp; do
    S4_GPU_TIMINGS=serial run "$SMOKE_SECONDS" TERM "$python" - "$codec" <<'END'
import sys, s4_codec
codec = getattr(s4_codec, sys.argv[1])(device=0)
value = b"".join(b"line %d of a log\n" % i for i in range(60_000))
packed = codec.compress(value)
print(codec, len(value), "->", len(packed[0]), "bytes", flush=True)
assert codec.decompress(*packed) == value
print("restored")
END
done

say "tests"
# One module that cannot be imported would end the collection of all.
missing=$(cd tests/python && timeout 30 "$python" - <<'END'
import importlib, pathlib, sys
sys.path.insert(0, "")
for path in sorted(pathlib.Path().glob("test_*.py")):
    try:
        importlib.import_module(path.stem)
    except ModuleNotFoundError as error:
        print(path.name, error.name)
    except BaseException:
        pass  # pytest says it better
END
)
ignored=()
while read -r module name; do
    [[ -n $module ]] || continue
    echo "left out: $module, which needs $name" | tee -a "$report"
    ignored+=("--ignore=tests/python/$module")
done <<<"$missing"
# Plugins of other versions than pytest's may be around.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
options=(-p no:cacheprovider -m gpu --durations=10 --maxfail=20 --tb=short)
if "$python" -c 'import pytest_timeout' 2>/dev/null; then
    options+=(-p pytest_timeout --timeout=90)
fi
# What tells most comes first, and cannot be held up by the rest.
run "$DEVICE_TEST_SECONDS" INT "$python" -m pytest "${options[@]}" tests/python/test_gpu_device.py
tests=$?
outcome_of() {
    grep -E '^=+ .*(passed|failed|error|skipped|no tests ran).* =+$' "$report" | tail -n 1
}
outcomes="device: $(outcome_of)"
run "$TEST_SECONDS" INT "$python" -m pytest "${options[@]}" "${ignored[@]}" \
    --ignore=tests/python/test_gpu_device.py tests/python
status=$?
((tests != 0)) || tests=$status
outcomes+=$'\n'"       table:  $(outcome_of)"

say "bench"
# shellcheck disable=SC2086 # several options
run "$BENCH_SECONDS" TERM "$python" benches/gpu.py --seconds $((BENCH_SECONDS - 30)) \
    --json "$out/gpu.json" ${BENCH_OPTIONS:-}
bench=$?

say "steps"
run "$STEP_SECONDS" TERM "$python" benches/gpu_steps.py

say "summary"
{
    echo "tests: $outcomes (status $tests)"
    grep -E '^(left out: test_|(FAILED|ERROR) )' "$report" | head -n 30
    echo "bench: status $bench; copies of pinned memory:"
    grep -E '^(GB/s +to device|pinned, )' "$report"
    sed -n '/^Summary: /,$p' "$report" | grep -v '^== '
} | tee -a "$out/summary.tmp"
cat "$out/summary.tmp" >>"$report"
rm -f "$out/summary.tmp"
((tests != 0)) && exit "$tests"
exit "$bench"
