#!/bin/bash -e
# Puts the package and its notes into the image. LAYERD_DEB: a folder that holds layerd_*_arm64.deb or layerd_*_armhf.deb.
: "${LAYERD_DEB:?where layerd_*.deb lies}"
debian=${ARCH:-$(chroot "${ROOTFS_DIR}" dpkg --print-architecture)}
package=$(find "$LAYERD_DEB" -name "layerd_*_$debian.deb" | sort -V | tail -1)
[ -n "$package" ] || { echo "no layerd_*_$debian.deb in $LAYERD_DEB" >&2; exit 1; }
install -m 644 "$package" "${ROOTFS_DIR}/tmp/layerd.deb"
install -D -m 644 files/journald.conf "${ROOTFS_DIR}/etc/systemd/journald.conf.d/layerd-card.conf"
# Newer images mount the boot partition below /boot/firmware.
boot=${ROOTFS_DIR}/boot/firmware
[ -d "$boot" ] || boot=${ROOTFS_DIR}/boot
install -m 644 files/layerd.toml.example "$boot/layerd.toml.example"
