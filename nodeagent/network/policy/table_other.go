//go:build !linux

package policy

import "errors"

// Table exists on Linux only.
type Table struct{}

// NewTable gives one that always fails.
func NewTable(string) *Table { return &Table{} }

// Write always fails.
func (t *Table) Write(*State) error { return errors.New("network policies need Linux") }

// Check does nothing.
func (t *Table) Check() error { return nil }

// Remove does nothing.
func (t *Table) Remove() error { return nil }
