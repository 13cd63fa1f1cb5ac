package apiserver

import "net/http"

// Handler answers requests that come over a connection, with who asks in the
// client's certificate or token. Config.Listener serves it; so can others.
func (s *Server) Handler() http.Handler { return s.generic.Handler }
