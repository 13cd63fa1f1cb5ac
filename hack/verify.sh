#!/bin/sh
# Runs every generator again and wants no difference.
set -eu
cd "$(dirname "$0")/.."
before=$(git status --porcelain)
hack/update-openapi.sh
hack/update-rbac.sh
hack/update-kinds.sh
go mod tidy
after=$(git status --porcelain)
if [ "$before" != "$after" ]; then
	echo "these files are not what their generators write; commit them:" >&2
	git --no-pager diff --stat >&2
	exit 1
fi
