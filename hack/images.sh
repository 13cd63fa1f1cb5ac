#!/bin/sh
# Builds the sample images from this repository's sources into bin/images: no
# registry is needed.
# usage: hack/images.sh [bin directory]
set -eu
cd "$(dirname "$0")/.."
bin=${1:-bin}
mkdir -p "$bin/images"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$bin/images/hello" ./config/samples/hello
for tag in v1 v2; do
	"$bin/skiff" image build -t skiff.dev/hello:$tag -o "$bin/images/hello-$tag.tar" --port 8080/tcp --env "VERSION=$tag" \
		--link sh,ls,cat,echo,env,tar,sleep,wget,nslookup,hostname,id "$bin/images/hello"
done
