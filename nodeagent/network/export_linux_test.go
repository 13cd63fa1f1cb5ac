package network

// CheckRules repairs the table of rules, as KeepRoutes does from time to time.
func (b *Bridge) CheckRules() error { return b.rules.check() }
