#!/usr/bin/env bash
# openssl.sh: sees to it that there is the openssl with which a test makes the certificates of
# docs/operations.md: one that is installed, or Debian's, by apt-get.
set -euo pipefail

command -v openssl >/dev/null && exit 0
exec "$(dirname "$0")/apt.sh" "the tests of docs/operations.md need openssl: install it" openssl
