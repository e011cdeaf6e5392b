#!/bin/bash -e
apt-get install -y --no-install-recommends /tmp/layerd.deb
rm -f /tmp/layerd.deb
systemctl enable layerd.service layerd-import.service
# The person who logs in may use the local socket.
[ -z "${FIRST_USER_NAME:-}" ] || ! getent passwd "$FIRST_USER_NAME" >/dev/null || usermod -aG layerd "$FIRST_USER_NAME"
layerd --version
layerd check --offline
