#!/usr/bin/env bash
# Runs the GPU tests and benchmarks on a machine without Rust and without a network:
#
#     benches/gpu_run.sh [OPTION...] PACKAGES [OUT]
#
# PACKAGES is a folder of wheels, which are installed into a temporary folder first, or a folder
# of installed packages. Runs the stages in order, in at most 8 minutes, and writes to OUT
# (default: gpu-results) report.txt with all output, and a JSON file for each stage with numbers,
# which holds each number once it is measured. Prints a summary at the end, and exits with the
# status of the first stage that failed.
#
# Stages:
#     tests      a smoke test, the tests of a real GPU, then the other tests marked gpu
#     telling    benches/gpu.py: every path of a column of 64 KiB values beside its limit
#     damage     benches/gpu_damage.py: what a damaged chunk does to a process
#     sanitizer  compute-sanitizer's memcheck over a small column of each codec
#     sizes      benches/gpu.py: by size of value and of column, beside all cores
#     rest       benches/gpu.py: nvidia.nvcomp and other data; benches/gpu_steps.py
#
# Options:
#     --stage NAME   only this stage; may be repeated. Appends to report.txt
#     --seconds N    end each stage after N seconds instead of its own limit
#     --site DIR     install into DIR and keep it: the next call with the same DIR installs nothing
#     --data DIR     the data to measure with: see benches/gpu.py --help
#     --vectors DIR  the wire format's test vectors: see CONTRIBUTING.md
#
# Packages for all stages:
#     s4_codec (pip wheel . --no-deps), polars, pyarrow, numpy, nvidia_libnvcomp_cu13 or _cu12
#     (only one of them; driver 580 or later works with either)
# For the tests: pytest, iniconfig, pluggy, packaging, pygments; with pytest-xdist and execnet
#     several run at once. Test modules that need more (arro3_core, duckdb, hypothesis, nanoarrow,
#     zstandard) are skipped and listed where a package is missing.
# Optional: cupy or torch, for a matrix on the device; nvidia_nvcomp, for the same CUDA and in the
#     same version as libnvcomp, 6 or later, to compare with.
#
# Packages that PYTHON (default: python3) has already need not be in PACKAGES. BENCH_OPTIONS holds
# further options for benches/gpu.py, such as --quick.
set -uo pipefail

STAGES=(tests telling damage sanitizer sizes rest)
declare -A LIMIT=([tests]=60 [telling]=90 [damage]=45 [sanitizer]=45 [sizes]=90 [rest]=75)
INSTALL_SECONDS=40
#: A benchmark starts nothing new in its last seconds.
LAST_SECONDS=12

usage() {
    echo "usage: benches/gpu_run.sh [--stage NAME]... [--seconds N] [--site DIR] [--data DIR]" \
        "[--vectors DIR] PACKAGES [OUT]" >&2
    exit 2
}

data=() chosen=() site='' seconds=''
while [[ ${1-} == --* ]]; do
    (($# >= 2)) || usage
    case $1 in
    --stage)
        [[ -n ${LIMIT[$2]-} ]] || usage
        chosen+=("$2")
        ;;
    --seconds) [[ $2 =~ ^[0-9]+$ ]] && seconds=$2 || usage ;;
    --site) mkdir -p -- "$2" && site=$(realpath -e -- "$2") || exit 2 ;;
    --data) data=(--data "$(realpath -e -- "$2")") || exit 2 ;;
    --vectors) S4_VECTORS=$(realpath -e -- "$2") || exit 2 ;;
    *) usage ;;
    esac
    shift 2
done
[[ -z ${S4_VECTORS-} ]] || export S4_VECTORS
(($# == 1 || $# == 2)) || usage
packages=$(realpath -e -- "$1") || exit 2
out=${2:-gpu-results}
mkdir -p -- "$out"
out=$(realpath -e -- "$out")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 2

python=${PYTHON:-python3}
report=$out/report.txt
((${#chosen[@]})) || : >"$report"
failed=0

say() {
    printf '\n== %s\n' "$*" | tee -a "$report"
}

# run SECONDS SIGNAL COMMAND...: ends the command with SIGNAL after SECONDS; appends its output to
# the report.
run() {
    local limit=$1 signal=$2
    shift 2
    timeout --signal="$signal" --kill-after=8 "$limit" "$@" 2>&1 | tee -a "$report"
    return "${PIPESTATUS[0]}"
}

# The seconds that are left to the current stage, and at least 1.
left() {
    local found=$((stage_end - SECONDS))
    echo $((found > 1 ? found : 1))
}

install() {
    local wheels=("$packages"/*.whl)
    if [[ ! -e ${wheels[0]} ]]; then
        site=$packages
        return
    fi
    if [[ -z $site ]]; then
        site=$(mktemp -d)
        trap 'rm -rf -- "$site"' EXIT
    fi
    [[ -e $site/.complete ]] && return
    say "install"
    run "$INSTALL_SECONDS" TERM "$python" -m pip install --quiet --no-index --no-deps \
        --no-compile --no-cache-dir --disable-pip-version-check --upgrade --target "$site" \
        "${wheels[@]}" || exit 1
    : >"$site/.complete"
}

stage_tests() {
    local smoke tests table
    run 20 TERM "$python" - <<'END'
import s4_codec
value = b"".join(b"line %d of a log\n" % i for i in range(60_000))
for name in ("NvcompZstd", "NvcompGDeflate", "NvcompBitcomp"):
    codec = getattr(s4_codec, name)(device=0)
    packed = codec.compress(value)
    assert codec.decompress(*packed) == value
    print(codec, len(value), "->", len(packed[0]), "bytes, restored", flush=True)
END
    smoke=$?
    # Installed plugins may not match the version of pytest.
    export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
    local options=(-p no:cacheprovider -m gpu --durations=8 --maxfail=20 --tb=short -q)
    if "$python" -c 'import pytest_timeout' 2>/dev/null; then
        options+=(-p pytest_timeout --timeout=40)
    fi
    # What only a real GPU can show comes first, on its own, because some of it holds all memory.
    local slow="millions_of_tiny_values or one_value_of_three_gib" others=() module name
    run "$(($(left) * 2 / 3))" INT "$python" -m pytest "${options[@]}" -k "not ($slow)" \
        tests/python/test_gpu_*.py
    tests=$?
    # A module that cannot be imported would end the collection of all others.
    while read -r module name; do
        [[ -n $module ]] || continue
        echo "skipped: $module needs $name" | tee -a "$report"
        others+=("--ignore=tests/python/$module")
    done < <(cd tests/python && timeout 15 "$python" - <<'END'
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
    others+=(-k "not test_gpu_ or $slow")
    if "$python" -c 'import xdist' 2>/dev/null; then
        others+=(-p xdist -n 8 --dist worksteal)
    fi
    run "$(left)" INT "$python" -m pytest "${options[@]}" "${others[@]}" tests/python
    table=$?
    echo "status: smoke $smoke, tests of a real GPU $tests, other tests $table" |
        tee -a "$report"
    return $((smoke ? smoke : tests ? tests : table))
}

# bench JSON PART...: the parts of benches/gpu.py in the time that is left.
bench() {
    local json=$out/$1 parts=() limit
    shift
    parts=("${@/#/--part=}")
    limit=$(left)
    # shellcheck disable=SC2086 # it may hold several options
    run "$limit" TERM "$python" benches/gpu.py "${parts[@]}" \
        --seconds $((limit - LAST_SECONDS)) --json "$json" "${data[@]}" ${BENCH_OPTIONS:-}
}

stage_telling() {
    bench telling.json telling
}

stage_damage() {
    # The last trial may take 12 seconds, and the check after it as long.
    run "$(left)" TERM "$python" benches/gpu_damage.py --seconds $(($(left) - 25)) \
        --json "$out/damage.json"
}

stage_sanitizer() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "skipped: compute-sanitizer is not on the PATH" | tee -a "$report"
        return 0
    fi
    run "$(left)" TERM compute-sanitizer --tool memcheck --error-exitcode 9 \
        "$python" benches/gpu_memcheck.py
}

stage_sizes() {
    bench sizes.json sizes
}

stage_rest() {
    local status
    stage_end=$((stage_end - 25))
    bench rest.json peers other
    status=$?
    run 25 TERM "$python" benches/gpu_steps.py "${data[@]}" || status=$?
    return $status
}

say "machine"
run 5 TERM uname -a
run 10 TERM nvidia-smi || echo "no nvidia-smi" | tee -a "$report"
install
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Processes that share the tests must collect them in the same order.
export PYTHONHASHSEED=0
# Another package may own the name nvidia and hide the modules in the same folder here.
if [[ -d $site/nvidia && ! -e $site/nvidia/__init__.py && -w $site/nvidia ]]; then
    echo '__path__ = __import__("pkgutil").extend_path(__path__, __name__)' \
        >"$site/nvidia/__init__.py"
fi
run 20 TERM "$python" -c 'import s4_codec; print(s4_codec.__file__, s4_codec.gpu_status())' ||
    exit 1

((${#chosen[@]})) || chosen=("${STAGES[@]}")
statuses=()
for stage in "${chosen[@]}"; do
    say "$stage"
    started=$SECONDS
    stage_end=$((SECONDS + ${seconds:-${LIMIT[$stage]}}))
    "stage_$stage"
    status=$?
    statuses+=("$stage: status $status, $((SECONDS - started)) s")
    ((failed)) || failed=$status
done

say "summary"
{
    printf '%s\n' "${statuses[@]}"
    grep -E '^(skipped: test_|status: |(FAILED|ERROR) |=* ?[0-9]+ (passed|failed))' "$report" |
        head -n 30
    sed -n '/^== telling/,/^== /p' "$report" | grep -E '^(  (de)?compress |[a-z]+, .* of )'
} >"$out/summary.tmp"
tee -a "$report" <"$out/summary.tmp"
rm -f "$out/summary.tmp"
exit "$failed"
