#!/usr/bin/env bash
# breaking.sh: fails when proto/ breaks clients of an earlier contract, which is
# the first of these that exists: the commit named by BREAKING_AGAINST, the newest
# release tag before this commit, origin/main, main. A clone may have none of
# them, or one that is this very commit: it says what it compared.
set -euo pipefail

cd "$(dirname "$0")/.."

base_ref() {
  if [ -n "${BREAKING_AGAINST:-}" ]; then
    git rev-parse --quiet --verify "$BREAKING_AGAINST^{commit}" >/dev/null || {
      echo "BREAKING_AGAINST: no commit '$BREAKING_AGAINST' in this clone: fetch it or name another" >&2
      return 1
    }
    echo "$BREAKING_AGAINST"
    return
  fi
  for commit in HEAD^ HEAD; do
    git describe --tags --abbrev=0 --match 'v[0-9]*' "$commit" 2>/dev/null && return
  done
  for ref in origin/main main; do
    if git rev-parse --quiet --verify "$ref^{commit}" >/dev/null; then
      echo "$ref"
      return
    fi
  done
}

ref=$(base_ref)
if [ -z "$ref" ]; then
  echo "buf breaking: nothing compared: this clone has no release tag and no branch main"
  exit 0
fi
commit=$(git rev-parse "$ref^{commit}")
if ! git cat-file -e "$commit:buf.yaml" 2>/dev/null; then
  echo "buf breaking: nothing compared: $ref has no buf.yaml yet"
  exit 0
fi
if git diff --quiet "$commit" -- proto; then
  echo "buf breaking: proto/ is the same as in $ref (${commit:0:12})"
  exit 0
fi
go tool -modfile=tools/buf/go.mod buf breaking proto --against ".git#commit=$commit,subdir=proto"
echo "buf breaking: proto/ is compatible with $ref (${commit:0:12})"
