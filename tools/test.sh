#!/usr/bin/env bash
# `make test`: runs the given parts, each a target of the Makefile, and prints the time of each at the end.
#
# The Python parts wait more than they compute, so they run beside the first Rust parts; what runs the whole set comes last and
# alone, because it is measured against time limits.
set -uo pipefail

times=$(mktemp)
trap 'rm -f "$times"' EXIT

run_all() {
    local part start
    for part in "$@"; do
        start=$SECONDS
        "${MAKE:-make}" --no-print-directory "$part" || { echo "make test: $part failed" >&2; return 1; }
        printf '%-12s %5d s\n' "$part" $((SECONDS - start)) >>"$times"
    done
}

first=() beside=() last=()
for part in "$@"; do
    case $part in
    format | lint | docs | sandbox) first+=("$part") ;;
    python | deploy-test) beside+=("$part") ;;
    *) last+=("$part") ;;
    esac
done

run_all "${beside[@]}" &
beside_job=$!
failed=0
run_all "${first[@]}" || failed=1
wait "$beside_job" || failed=1
[ "$failed" -eq 0 ] && run_all "${last[@]}" || exit 1
printf '\n'
cat "$times"
printf '%-12s %5d s\n' 'in all' "$SECONDS"
