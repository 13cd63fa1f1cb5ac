#!/bin/bash
# What `make up` runs: a cluster on this machine with the sample application in
# it. It stays in the foreground; Ctrl-C ends the cluster, its data stays.
# usage: hack/up.sh [profile]
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-default}
bin=$PWD/bin
kubectl=$bin/skiff-kubectl

ready=$(mktemp)
up=
# The cluster's own output is the first thing to see; skiff alone gets Ctrl-C
# from the terminal and this script waits for it.
finish() {
	code=$?
	trap - EXIT INT TERM
	if [ -n "$up" ] && kill -INT "$up" 2>/dev/null; then
		wait "$up" || code=$?
	fi
	rm -f "$ready"
	exit "$code"
}
trap finish EXIT
trap 'exit 0' INT TERM
# In a process group of its own: a Ctrl-C during kubectl's work must not end
# the cluster twice.
set -m
"$bin/skiff" up --profile "$profile" > >(tee -i "$ready") &
up=$!
set +m
until grep -q '^Ready in' "$ready"; do
	kill -0 "$up" 2>/dev/null || { wait "$up" && exit 1 || exit $?; }
	sleep 0.1
done

say() { printf '\n%s\n' "$*"; }
say "Loading the sample images"
"$bin/skiff" image load --profile "$profile" bin/images/*.tar
say "Applying config/samples"
k() { "$kubectl" --context "skiff-$profile" "$@"; }
k apply -k config/samples
for d in front back; do k rollout status "deployment/$d" --timeout=120s | tail -n 1; done
cat <<EOF

The sample application answers. In another terminal try:

  alias kubectl=$kubectl   # where there is no kubectl
  kubectl get all -o wide
  curl $("$bin/skiff" service --profile "$profile" --url front)/ask
  kubectl logs -f deployment/back
  kubectl exec -it deployment/front -- sh
  kubectl scale deployment/back --replicas=5
  kubectl set image deployment/front hello=skiff.dev/hello:v2
  kubectl rollout status deployment/front
  kubectl create deployment web --image=skiff.dev/hello:v1 --replicas=3

Ctrl-C ends the cluster; its data stays. 'skiff delete --profile $profile' removes it.
EOF
while kill -0 "$up" 2>/dev/null; do wait "$up" || exit $?; done
