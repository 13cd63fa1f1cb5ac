#!/bin/bash
# Builds the images that Kubernetes' conformance tests run, under the names by
# which the suite asks for them: programs from the sources that go.mod pins,
# everything else from Debian's packages. No registry of images is needed.
#
# usage: images.sh DIRECTORY: e2e.test is there, images are left in images/
set -euo pipefail
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"
work=$dir/images.work
mkdir -p "$dir/images"

want=$(cat images.sh go.sum sampleapiserver/go.sum | cksum)
stamp=$dir/images/.built
[ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && exit 0

rm -rf "$work"
trap 'rm -rf "$work"' EXIT
kubernetes=$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)
names=$("$dir/e2e.test" --list-images 2>/dev/null)
arch=$(go env GOARCH)

# packages ROOT NAME…: unpacks packages of this machine's Debian with all that
# they depend on. Nothing of the machine's own is looked at or installed.
packages() {
	local root=$1 cache=$work/apt
	shift
	mkdir -p "$root" "$cache/archives/partial"
	: >"$work/status"
	rm -f "$cache"/archives/*.deb
	apt-get install -qq -y --download-only --no-install-recommends -o Dir::State::status="$work/status" \
		-o Dir::Cache="$cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@" >/dev/null
	local deb
	for deb in "$cache"/archives/*.deb; do dpkg-deb -x "$deb" "$root"; done
	rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bash-completion}
}

# tools ROOT: every tool that busybox has and nothing else brought.
tools() {
	local root=$1 tool
	mkdir -p "$root"/{bin,sbin,etc,root,usr/bin}
	mkdir -p -m 1777 "$root/tmp"
	[ -x "$root/bin/busybox" ] || packages "$root" busybox-static
	# Debian makes the links to the shell and to awk by scripts, which are not run.
	for tool in sh $("$root/bin/busybox" --list); do
		[ -n "$(find "$root"/{bin,sbin,usr} -name "$tool" \( -type l -o -type f \) -print -quit)" ] || ln -s /bin/busybox "$root/bin/$tool"
	done
	cat >"$root/etc/passwd" <<-END
		root:x:0:0:root:/root:/bin/sh
		daemon:x:1:1:daemon:/usr/sbin:/bin/false
		www-data:x:33:33:www-data:/var/www:/bin/false
		nobody:x:65534:65534:nobody:/:/bin/false
	END
	cat >"$root/etc/group" <<-END
		root:x:0:
		daemon:x:1:
		www-data:x:33:
		nogroup:x:65534:
	END
}

# pack ROOT NAME CONFIG: ROOT as the image of the suite's list that ends in
# /NAME:version, with the configuration's JSON.
pack() {
	local root=$1 name=$2 config=$3 ref layer archive out=$work/pack
	for ref in $(grep -E "^registry\.k8s\.io/(.*/)?$name:" <<<"$names"); do
		rm -rf "$out"
		mkdir -p "$out"
		tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out/layer.tar" .
		layer=$(sha256sum "$out/layer.tar" | cut -d' ' -f1)
		printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"comment":"%s"}]}' \
			"$arch" "$config" "$layer" "$ref" >"$out/config.json"
		printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$ref" >"$out/manifest.json"
		archive=$dir/images/${name//\//-}-${ref##*:}.tar
		tar -C "$out" -cf "$archive.new" manifest.json config.json layer.tar
		mv "$archive.new" "$archive"
		echo "$ref"
	done
}

path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'

# What the image's Dockerfile adds to agnhost, for tests that call these.
root=$work/agnhost
packages "$root" busybox-static bash curl bind9-dnsutils netcat-openbsd iproute2 iperf libc-bin socat util-linux wget
# busybox's shell would run its own nc; its wget crashes when it is given a time-out.
ln -sf nc.openbsd "$root/bin/nc"
ln -sf bash "$root/bin/sh"
tools "$root"
cp -r "$root" "$work/debian"
# The published image's busybox has a tool that Debian's has not.
packages "$work/coreutils" coreutils
cp "$work/coreutils/usr/bin/printenv" "$root/usr/bin/"
rm -rf "$work/coreutils"
mkdir -p "$root/uploads"
echo "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh" >>"$root/etc/passwd"
printf '%s\n' user-defined-in-image:x:1000: group-defined-in-image:x:50000:user-defined-in-image >>"$root/etc/group"
cp "$kubernetes"/test/images/agnhost/porter/localhost.{crt,key} "$root/"
chmod 0644 "$root"/localhost.*
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/agnhost" k8s.io/kubernetes/test/images/agnhost
ln -s agnhost "$root/agnhost-2"
# Two versions are asked for, by tests that change an image: both are this one.
pack "$root" agnhost '{"Entrypoint":["/agnhost"],"Cmd":["pause"],"WorkingDir":"/",'"$path"'}'
# A test of image volumes looks for the name of the published image's system.
echo 'NAME="Alpine Linux"' >"$root/etc/os-release"
for pet in kitten nautilus; do
	cp "$kubernetes/test/images/$pet/html/"* "$root/"
	pack "$root" $pet '{"Entrypoint":["/agnhost"],"Cmd":["test-webserver"],"WorkingDir":"/",'"$path"'}'
	rm "$root/$pet.jpg" "$root/data.json"
done
pack "$work/debian" glibc-dns-testing '{"Cmd":["bash"],"WorkingDir":"/",'"$path"'}'
rm -rf "$root" "$work/debian"

# The shell of Debian 12's busybox forgets variables whose names it cannot use
# itself, which tests look for; a later one's does not.
root=$work/busybox
packages "$root" busybox-static bash-static
mv "$root/bin/bash-static" "$root/bin/sh"
tools "$root"
pack "$root" busybox '{"Cmd":["sh"],"WorkingDir":"/",'"$path"'}'
pack "$root" nonroot '{"User":"1234","Cmd":["sh"],"WorkingDir":"/",'"$path"'}'
mkdir -p "$root/usr/local/bin"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/usr/local/bin/nnp" k8s.io/kubernetes/test/images/nonewprivs
chmod +s "$root/usr/local/bin/nnp"
pack "$root" nonewprivs '{"Cmd":["nnp"],"WorkingDir":"/",'"$path"'}'

# etcd's version is skiff's.
root=$work/etcd
tools "$root"
mkdir -p "$root/usr/local/bin" "$root/var/lib/etcd"
(cd ../../.. && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/usr/local/bin/etcd" go.etcd.io/etcd/server/v3)
pack "$root" etcd '{"Cmd":["etcd"],"WorkingDir":"/",'"$path"'}'

root=$work/sample-apiserver
mkdir -p "$root/tmp"
(cd sampleapiserver && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/sample-apiserver" k8s.io/sample-apiserver)
pack "$root" sample-apiserver '{"Entrypoint":["/sample-apiserver"],"WorkingDir":"/",'"$path"'}'

root=$work/pause
mkdir -p "$root"
gcc -Os -Wall -static -s -DVERSION="conformance" -o "$root/pause" "$kubernetes/build/pause/linux/pause.c"
pack "$root" pause '{"User":"65535:65535","Entrypoint":["/pause"],"WorkingDir":"/"}'

root=$work/nginx
packages "$root" nginx-light busybox-static
tools "$root"
mkdir -p "$root/usr/share/nginx/html" "$root/run" "$root/var/log/nginx" "$root/var/lib/nginx"
echo '<title>Welcome to nginx!</title><h1>Welcome to nginx!</h1>' >"$root/usr/share/nginx/html/index.html"
cat >"$root/etc/nginx/nginx.conf" <<-'END'
	user www-data;
	worker_processes 1;
	pid /run/nginx.pid;
	error_log /dev/stderr;
	events { worker_connections 1024; }
	http {
		include mime.types;
		access_log /dev/stdout;
		server {
			listen 80;
			root /usr/share/nginx/html;
			index index.html;
		}
	}
END
pack "$root" nginx '{"Cmd":["nginx","-g","daemon off;"],"StopSignal":"SIGQUIT","WorkingDir":"/",'"$path"'}'

printf '%s\n' "$want" >"$stamp"
