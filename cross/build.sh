#!/usr/bin/env bash
# Builds layerd for a machine, on any Linux PC.
#
#   cross/build.sh aarch64|armv7|armv6|x86_64 [--deb] [--profile NAME]
#   cross/build.sh ARCH --target          only says what Rust calls it
#
#   aarch64  64-bit boards (Pi 3 and newer with a 64-bit system)      glibc 2.31 and newer
#   armv7    32-bit boards (Pi 2 and newer)                           glibc 2.31 and newer
#   armv6    every 32-bit Pi, Zero and 1 too                          static, needs no libc
#   x86_64   PCs                                                      glibc 2.31 and newer
#
# The result is dist/layerd-ARCH, with --deb also the package in dist/. The linker and the C libraries
# come with zig (from PyPI, into target/cross), so that nothing depends on the libc of the machine that
# builds. The Rust standard library is built from the sources that rustup or Debian (packages rustc-web and
# rust-web-src) bring; other profiles than dist take the one that rustup has for the target.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'
    exit 2
}

arch=${1:-} deb='' profile=dist ask=''
[ $# -gt 0 ] && shift
while [ $# -gt 0 ]; do
    case $1 in
    --deb) deb=1 ;;
    --target) ask=1 ;;
    --profile) profile=${2:?a profile} && shift ;;
    *) usage ;;
    esac
    shift
done
case $arch in
aarch64) target=aarch64-unknown-linux-gnu floor=.2.31 debian=arm64 ;;
armv7) target=armv7-unknown-linux-gnueabihf floor=.2.31 debian='' ;;
# Debian's own armhf tools make ARMv7 code, which a Pi Zero cannot run: hence musl, all static.
armv6) target=arm-unknown-linux-musleabihf floor='' debian=armhf ;;
x86_64) target=x86_64-unknown-linux-gnu floor=.2.31 debian=amd64 ;;
*) usage ;;
esac
[ -z "$ask" ] || { echo "$target" && exit; }
[ -z "$deb" ] || [ -n "$debian" ] ||
    { echo "armv7 comes as a plain binary: the armhf package holds the armv6 build, which runs on every 32-bit Pi" >&2; exit 2; }

say() { printf '%s\n' "$*" >&2; }

# need PACKAGE …: Debian packages, installed where that is allowed.
need() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
    else
        say "needed: sudo apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
}

tools=$PWD/target/cross
if ! [ -x "$tools/venv/bin/cargo-zigbuild" ]; then
    mkdir -p "$tools"
    python3 -c 'import ensurepip' 2>/dev/null || need python3-venv
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check ziglang cargo-zigbuild
fi
export PATH=$tools/venv/bin:$PATH

# Where the standard library for the target comes from. What is shipped has one of its own making: small, and without
# the part that names the functions of a backtrace, since a stripped program holds no names.
std=() flags=()
from_source() {
    export RUSTC_BOOTSTRAP=1
    std=(-Z build-std=std,panic_abort,panic_unwind -Z build-std-features=panic-unwind,optimize_for_size)
    # Text is searched and numbers are read by what the library brings.
    [ "$arch" = armv6 ] || std+=(--config "profile.$profile.package.core.opt-level=3")
    # The processor of a Pi Zero gains little from more code: its cache for it has 16 KiB.
    if [ "$arch" = armv6 ]; then
        for library in layerd-gcode crc32fast memchr sha2 zlib-rs; do
            std+=(--config "profile.$profile.package.$library.opt-level=2")
        done
        std+=(--config "profile.$profile.package.core.opt-level=\"s\"")
        for library in bytes mio serde_json tokio; do
            std+=(--config "profile.$profile.package.$library.opt-level=\"z\"")
        done
    fi
    # Panics unwind from calls alone, not from anywhere: smaller tables will do.
    flags=(-Zuse-sync-unwind=yes "--remap-path-prefix=$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust/library=/std")
}
if [ "$profile" = dist ] && timeout 300 rustup component add rust-src >/dev/null 2>&1; then
    say "$arch: the standard library is built from rustup's sources"
    from_source
elif rustup target list --installed 2>/dev/null | grep -qx "$target" || timeout 300 rustup target add "$target" >/dev/null 2>&1; then
    say "$arch: the standard library of rustup"
else
    say "$arch: rustup cannot fetch $target; the standard library is built from Debian's sources"
    need rustc-web rust-web-src lld
    command -v cargo >/dev/null || need cargo-web
    export RUSTC=/usr/bin/rustc
    from_source
fi

rustc_words=(--)
# Code that is found more than once becomes a function of its own on 64-bit ARM. Each such function costs 32 bytes of
# tables for unwinding, which the compiler does not count: only what saves more is worth it.
[ "$arch" != aarch64 ] || rustc_words+=(-C llvm-args=-outliner-benefit-threshold=40)
# With a standard library of our own making rustc has no start files for musl; zig has.
[ "${target##*-}" != musleabihf ] || [ ${#std[@]} = 0 ] || rustc_words+=(-C link-self-contained=no)

# What came out equal is folded into one, where there is a linker that can do that.
if [ "$profile" = dist ]; then
    for lld in "$("${RUSTC:-rustc}" --print sysroot)"/lib/rustlib/*/bin/rust-lld "$(command -v ld.lld || true)"; do
        [ ! -x "$lld" ] || { export LLD=$lld && break; }
    done
    [ -z "${LLD:-}" ] || rustc_words+=(-C "linker=$PWD/cross/fold.sh")
fi

# The same result wherever the sources lie. Paths of libraries are in every message of a panic: short ones.
home=${CARGO_HOME:-$HOME/.cargo}
# With a frame pointer a function on x86-64 needs a third less of tables for unwinding, and no more code.
[ "$arch" != x86_64 ] || flags+=(-Cforce-frame-pointers=yes)
# Thumb-2: three quarters of the size of ARM code, and not slower. ARMv6 has no such thing.
[ "$arch" != armv7 ] || [ ${#std[@]} = 0 ] || flags+=(-Ctarget-feature=+thumb-mode)
flags+=("--remap-path-prefix=$PWD=/src" "--remap-path-prefix=$home=/cargo")
for registry in "$home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/dep")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
# No panic passes through SQLite or ring: their functions need no tables for it.
export "CFLAGS_${target//-/_}=-fno-asynchronous-unwind-tables -fno-unwind-tables"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
cargo-zigbuild rustc --locked --profile "$profile" --package layerd --bin layerd ${std[@]+"${std[@]}"} \
    --target "$target$floor" "${rustc_words[@]}"

mkdir -p dist
built=target/$target/$profile/layerd
install -m 755 "$built" "dist/layerd-$arch"
say "dist/layerd-$arch: $(stat -c %s "dist/layerd-$arch") bytes"

if [ -n "$deb" ]; then
    exec cross/deb.sh "$arch" "$debian" "$target"
fi
