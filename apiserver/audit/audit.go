// Package audit writes down who asked for what, as a policy says, to a file and
// to a server (https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/).
//
// The rules, formats and buffers are k8s.io/apiserver's. What this package adds
// is an end: files are closed, buffers are flushed within a bounded time.
//
// Reads the policy file. Writes the audit log. Start at New.
package audit

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	"k8s.io/klog/v2"
)

// Options are upstream's --audit-* flags.
type Options = options.AuditOptions

// flushTimeout is how long a stop waits for what is still buffered: a server
// that does not answer must not keep us from ending.
const flushTimeout = 5 * time.Second

// Backend takes the events. The zero value and nil take none.
type Backend struct {
	policy  audit.PolicyRuleEvaluator
	events  audit.Backend
	file    *file
	running bool
	stop    chan struct{}
}

// New opens the files that o names; nil, or no policy, records nothing.
func New(o *Options) (*Backend, error) {
	if o == nil || o.PolicyFile == "" && o.LogOptions.Path == "" && o.WebhookOptions.ConfigFile == "" {
		return nil, nil
	}
	if errs := o.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	// The library reads the policy and makes the webhook's part; the log's
	// part it would make with a file that nobody can close.
	part := *o
	part.LogOptions.Path, part.WebhookOptions.ConfigFile = "", ""
	var c genericapiserver.Config
	if err := part.ApplyTo(&c); err != nil {
		return nil, fmt.Errorf("--audit-policy-file %s: %w", o.PolicyFile, err)
	}
	part.WebhookOptions = o.WebhookOptions
	if err := part.ApplyTo(&c); err != nil {
		return nil, fmt.Errorf("--audit-webhook-config-file %s: %w", o.WebhookOptions.ConfigFile, err)
	}
	b := &Backend{policy: c.AuditPolicyRuleEvaluator, events: c.AuditBackend, stop: make(chan struct{})}
	if o.LogOptions.Path == "" || b.policy == nil {
		return b, nil
	}
	var err error
	if b.file, err = open(o.LogOptions); err != nil {
		return nil, fmt.Errorf("--audit-log-path: %w", err)
	}
	written, err := logTo(b.file, o.LogOptions)
	if err != nil {
		return nil, err
	}
	if b.events == nil {
		b.events = written
	} else {
		b.events = audit.Union(written, b.events)
	}
	return b, nil
}

// logTo is what --audit-log-mode and --audit-log-truncate-* make of a file.
func logTo(f *file, o options.AuditLogOptions) (audit.Backend, error) {
	version, err := schema.ParseGroupVersion(o.GroupVersionString)
	if err != nil {
		return nil, fmt.Errorf("--audit-log-version: %w", err)
	}
	b := log.NewBackend(f, o.Format, version)
	switch o.BatchOptions.Mode {
	case options.ModeBlocking:
		b = forgiving{b}
	case options.ModeBatch:
		b = buffered.NewBackend(b, o.BatchOptions.BatchConfig)
	}
	if o.TruncateOptions.Enabled {
		b = truncate.NewBackend(b, o.TruncateOptions.TruncateConfig, version)
	}
	return b, nil
}

// forgiving lets a request go on that could not be written down; only mode
// blocking-strict does not.
type forgiving struct{ audit.Backend }

func (f forgiving) ProcessEvents(events ...*auditapi.Event) bool {
	f.Backend.ProcessEvents(events...)
	return true
}

// Apply makes a server send its events here.
func (b *Backend) Apply(c *genericapiserver.Config) {
	if b != nil {
		c.AuditPolicyRuleEvaluator, c.AuditBackend = b.policy, b.events
	}
}

// Run begins to take events. Stop ends it.
func (b *Backend) Run() error {
	if b == nil || b.events == nil {
		return nil
	}
	if err := b.events.Run(b.stop); err != nil {
		return fmt.Errorf("run audit backend: %w", err)
	}
	b.running = true
	return nil
}

// Stop writes what is buffered and closes the log. It comes once, after the
// last event.
func (b *Backend) Stop() {
	if b == nil {
		return
	}
	if b.running {
		b.flush()
	}
	if b.file != nil {
		b.file.close()
	}
}

func (b *Backend) flush() {
	close(b.stop)
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		b.events.Shutdown()
	}()
	select {
	case <-flushed:
	case <-time.After(flushTimeout):
		klog.Background().Error(nil, "Audit events are lost: the backend does not take them", "waited", flushTimeout)
	}
}
