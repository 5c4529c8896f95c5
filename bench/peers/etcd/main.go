// Command etcd is etcd's server, unchanged, built from its module at the version that go.mod
// names.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
