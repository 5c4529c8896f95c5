#!/usr/bin/env bash
# openssl.sh: sees to it that there is the openssl with which a test makes the certificates of
# docs/operations.md: one that is installed, or Debian's, by apt-get.
set -euo pipefail

command -v openssl >/dev/null && exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v apt-get >/dev/null; then
  echo "the tests of docs/operations.md need openssl: install it" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends openssl >/dev/null
