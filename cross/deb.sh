#!/usr/bin/env bash
# Packs dist/layerd-ARCH as a .deb:  cross/deb.sh ARCH DEBIAN_ARCH TARGET   (build.sh --deb calls it)
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1 debian=$2 target=$3
tools=$PWD/target/cross
if ! command -v cargo-deb >/dev/null; then
    export PATH=$tools/bin:$PATH
    command -v cargo-deb >/dev/null || cargo install --quiet --locked --no-default-features --root "$tools" cargo-deb
fi

# The manual, the completions and the licences come from the program and its sources, so that they agree.
made=target/package
rm -rf "$made"
mkdir -p "$made"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
here=${LAYERD:-}
[ -n "$here" ] || [ "$arch" != "$(uname -m)" ] || here=dist/layerd-$arch
[ -n "$here" ] || { cargo build --quiet --locked --release --bin layerd && here=target/release/layerd; }
"$here" man | gzip -9n >"$made/layerd.1.gz"
for shell in bash zsh fish; do "$here" completions "$shell" >"$made/completions.$shell"; done
cross/licenses "$target" >"$made/dependencies.txt"
gzip -9nc CHANGELOG.md >"$made/changelog.gz"
printf 'layerd (%s-1) stable; urgency=medium\n\n  * What is new: /usr/share/doc/layerd/changelog.gz\n\n -- %s  %s\n' "$version" \
    "$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" "$(LC_ALL=C date -Rud "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")" \
    >"$made/changelog.Debian"
install -m 755 "dist/layerd-$arch" "$made/layerd"

variant=()
# Static: no libc at all. Otherwise what cross/build.sh links against; $auto would name the libc of this machine.
[ "$debian" != armhf ] || variant=(--variant static)
# cargo-deb takes the architecture of the target for its own: Debian's name for ARMv6 hard float is armhf too.
cargo-deb --no-build --no-strip --target "$target" ${variant[@]+"${variant[@]}"} \
    --output "dist/layerd_${version}_$debian.deb"
ls -l dist/*_"$debian".deb
