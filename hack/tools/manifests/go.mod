// What writes config/rbac from the markers in controllers/.
module github.com/skiffcluster/skiff/hack/tools/manifests

go 1.26.6
