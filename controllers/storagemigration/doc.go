// Package storagemigration writes all objects of a resource again, so that all
// are stored in its present version and by its present key: one
// StorageVersionMigration at a time for each resource, the oldest first.
//
// It reads StorageVersionMigrations and the metadata of what they name; writes
// their status and, of custom resources, the condition StorageMigrating and
// storedVersions of the definition. Start at reconciler.go.
package storagemigration
