#!/usr/bin/env bash
# Runs the GPU tests and benchmarks on a machine without Rust and without a network:
#
#     benches/gpu_run.sh [--data DIR] [--vectors DIR] WHEELS [OUT]
#
# Installs all wheels in the folder WHEELS into a temporary folder, runs the tests marked gpu and
# benches/gpu.py, and writes to OUT (default: gpu-results) report.txt with all output and gpu.json
# with every number. Takes at most 8 minutes. Prints a summary at the end, and exits with the
# status of the tests, or with that of the benchmark if the tests pass.
#
# --data     the data to measure with: see benches/gpu.py --help
# --vectors  the wire format's test vectors: see CONTRIBUTING.md
#
# Wheels for both:
#     s4_codec (pip wheel . --no-deps), polars, polars_runtime_32, pyarrow, numpy,
#     nvidia_libnvcomp_cu13 or _cu12 (only one of them; driver 580 or later works with either)
# For the tests only:
#     pytest, iniconfig, pluggy, packaging, pygments
# Test modules that need more (arro3_core, duckdb, hypothesis, nanoarrow, zstandard) are skipped
# and listed where a package is missing.
# Optional: nvidia_nvcomp, for the same CUDA and in the same version as libnvcomp, 6 or later, to
#     compare with; torch, to test alongside.
#
# Packages that PYTHON (default: python3) has already need no wheel. BENCH_OPTIONS holds further
# options for benches/gpu.py, such as --quick.
set -uo pipefail

INSTALL_SECONDS=40 SMOKE_SECONDS=12 DEVICE_TEST_SECONDS=100 TEST_SECONDS=70 BENCH_SECONDS=160
STEP_SECONDS=40

usage() {
    echo "usage: benches/gpu_run.sh [--data DIR] [--vectors DIR] WHEELS [OUT]" >&2
    exit 2
}

data=()
while [[ ${1-} == --* ]]; do
    (($# >= 2)) || usage
    case $1 in
    --data) data=(--data "$(realpath -e -- "$2")") || exit 2 ;;
    --vectors) S4_VECTORS=$(realpath -e -- "$2") || exit 2 ;;
    *) usage ;;
    esac
    shift 2
done
[[ -z ${S4_VECTORS-} ]] || export S4_VECTORS
(($# == 1 || $# == 2)) || usage
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

# run SECONDS SIGNAL COMMAND...: ends the command with SIGNAL after SECONDS; appends its output to
# the report.
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
# Another package may own the name nvidia and hide the modules just installed under it.
if [[ -d $site/nvidia && ! -e $site/nvidia/__init__.py ]]; then
    echo '__path__ = __import__("pkgutil").extend_path(__path__, __name__)' \
        >"$site/nvidia/__init__.py"
fi
run 20 TERM "$python" -c 'import s4_codec; print(s4_codec.__file__, s4_codec.gpu_status())' ||
    exit 1

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
# A module that cannot be imported would end the collection of all others.
missing=$(cd tests/python && timeout 30 "$python" - <<'END'
import importlib, pathlib, sys
sys.path.insert(0, "")
for path in sorted(pathlib.Path().glob("test_*.py")):
    try:
        importlib.import_module(path.stem)
    except ModuleNotFoundError as error:
        print(path.name, error.name)
    except BaseException:
        pass  # pytest reports it better
END
)
ignored=()
while read -r module name; do
    [[ -n $module ]] || continue
    echo "skipped: $module needs $name" | tee -a "$report"
    ignored+=("--ignore=tests/python/$module")
done <<<"$missing"
# Installed plugins may not match the version of pytest.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
options=(-p no:cacheprovider -m gpu --durations=10 --maxfail=20 --tb=short)
if "$python" -c 'import pytest_timeout' 2>/dev/null; then
    options+=(-p pytest_timeout --timeout=90)
fi
# The most important tests run first, so that the others cannot delay them.
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
# shellcheck disable=SC2086 # it may hold several options
run "$BENCH_SECONDS" TERM "$python" benches/gpu.py --seconds $((BENCH_SECONDS - 30)) \
    --json "$out/gpu.json" "${data[@]}" ${BENCH_OPTIONS:-}
bench=$?

say "steps"
run "$STEP_SECONDS" TERM "$python" benches/gpu_steps.py "${data[@]}"

say "summary"
{
    echo "tests: $outcomes (status $tests)"
    grep -E '^(skipped: test_|(FAILED|ERROR) )' "$report" | head -n 30
    echo "bench: status $bench; copies of pinned memory:"
    grep -E '^(GB/s +to device|pinned, )' "$report"
    sed -n '/^Summary: /,$p' "$report" | grep -v '^== '
} | tee -a "$out/summary.tmp"
cat "$out/summary.tmp" >>"$report"
rm -f "$out/summary.tmp"
((tests != 0)) && exit "$tests"
exit "$bench"
