#!/usr/bin/env bash
# The linker of what is shipped, which cross/build.sh gives to rustc. Zig links; then LLD (in $LLD) does the same once more
# and makes functions and constants that came out equal one, for which zig's own cannot be asked. If that fails, what
# zig made stays.
#
# Nothing here tells functions apart by their address: Rust promises no addresses, and SQLite compares only with
# functions of its own that equal no other of their kind.
set -euo pipefail

# cargo-zigbuild tells cargo its linker in this way.
zig=$(compgen -e | grep -m 1 '^CARGO_TARGET_.*_LINKER$')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ZIG_VERBOSE_LINK=1 "${!zig}" "$@" 2>"$log" || { cat "$log" >&2; exit 1; }

# The call as zig shows it, without words for the LLVM inside of zig, and with a result beside its own.
call=() made='' before=''
for word in $(sed -n 's/^ld\.lld //p' "$log" | tail -n 1); do
    [ "$before" != -o ] || { made=$word && word+=.folded; }
    [ "$before" = -mllvm ] || [ "$word" = -mllvm ] || call+=("$word")
    before=$word
done
[ -n "$made" ] || { echo "cross/fold.sh: zig did not say how it links: nothing folded" >&2; exit; }
if "$LLD" -flavor gnu "${call[@]}" -O2 --hash-style=gnu --icf=all --ignore-data-address-equality 2>"$log"; then
    mv "$made.folded" "$made"
else
    tail -n 5 "$log" >&2
    rm -f "$made.folded"
fi
