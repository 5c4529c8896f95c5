#!/usr/bin/env bash
# chromium.sh: sees to it that there is a Chromium for the tests of the dashboard: the
# one that CHROMIUM names, one that is installed, or Debian's, by apt-get.
set -euo pipefail

if [ -n "${CHROMIUM:-}" ]; then
  [ -x "$CHROMIUM" ] || { echo "CHROMIUM=$CHROMIUM: is no program: give the path of a Chromium, or leave it out" >&2; exit 1; }
  exit 0
fi
for browser in chromium chromium-browser google-chrome; do
  command -v "$browser" >/dev/null && exit 0
done

exec "$(dirname "$0")/apt.sh" "the tests of the dashboard need Chromium: install it, or give CHROMIUM=/path/to/it" chromium fonts-dejavu-core
