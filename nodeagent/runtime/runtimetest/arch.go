package runtimetest

import "runtime"

const goarch = runtime.GOARCH
