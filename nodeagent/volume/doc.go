// Package volume prepares the volumes of pods in directories of the node, keeps
// their content up to date, and takes them down.
//
// Reads the pod, ConfigMaps, Secrets, PersistentVolumeClaims and
// PersistentVolumes and ClusterTrustBundles; asks for service-account tokens and
// pods' certificates. Writes
// pods/<uid>/volumes and pods/<uid>/volume-subpaths below its data directory.
// Start at [Volumes].
package volume
