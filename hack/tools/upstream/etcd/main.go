// Command etcd is etcd as it is published: the store of the servers that skiff
// is measured beside.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
