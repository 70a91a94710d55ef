#!/usr/bin/env bash
# Checkers over the Rust tests: checks/run.sh asan|memcheck ...
# Each says what it needs; where that is missing, it is skipped with that reason.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}

skip() { echo "$1 skipped: it needs $2"; }

# Reads and writes outside of memory, and leaks: of Rust, and of C where there is a clang.
asan() {
    compgen -G "$(rustc --print target-libdir)/librustc*_rt.asan.a" > /dev/null \
        || { skip asan 'AddressSanitizer, which comes with the toolchains of rustup'; return; }
    local instrument=(RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address)
    if command -v clang > /dev/null; then
        instrument+=(CC=clang CFLAGS=-fsanitize=address)
    else
        echo 'asan: there is no clang, so the C libraries are not instrumented'
    fi
    local tests=(columns dictionary_sets gdeflate gzip laws values wire)
    env "${instrument[@]}" cargo test --locked --target "$host" --target-dir "$target_dir/asan" \
        --features arrow --lib "${tests[@]/#/--test=}"
}

# What depends on uninitialised memory as well, in Rust and C as they are.
memcheck() {
    command -v valgrind > /dev/null || { skip memcheck valgrind; return; }
    local executables
    executables=$(cargo test --locked --features arrow --lib --test laws --no-run \
        --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    for executable in $executables; do
        # Under valgrind, damaged inputs and any bytes take minutes.
        valgrind --quiet --error-exitcode=1 "$executable" --test-threads=1 \
            --skip damaged_inputs --skip any_bytes
    done
}

[ $# -gt 0 ] || { echo "usage: $0 asan|memcheck ..."; exit 2; }
for check in "$@"; do
    case $check in
        asan | memcheck) "$check" ;;
        *) echo "unknown check $check: asan or memcheck"; exit 2 ;;
    esac
done
