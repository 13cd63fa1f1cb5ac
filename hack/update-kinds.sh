#!/bin/sh
# Writes docs/kinds.md and apiserver/testdata/kinds.golden from what a server
# that runs in this process answers.
set -eu
cd "$(dirname "$0")/.."
go test ./apiserver -count=1 -run 'TestDocumentOfKinds|TestEveryKindIsPrintedAsKubernetesDoes' -update
