#!/usr/bin/env bash
# apt.sh WHY PACKAGE...: installs Debian packages that tests need, or says why and ends.
set -euo pipefail

why=$1
shift
if ! command -v apt-get >/dev/null; then
  echo "$why" >&2
  exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
