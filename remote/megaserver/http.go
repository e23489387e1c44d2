package megaserver

import (
	"crypto/tls"
	"net/http"
	"time"
)

// HTTPServer returns what serves h as this protocol needs it: HTTP/1.1 only, since one client compares the names of headers byte for byte, and with
// time limits. certs may be nil for a server without TLS.
func HTTPServer(h http.Handler, certs *tls.Config) *http.Server {
	if certs != nil {
		certs = certs.Clone()
		certs.NextProtos = []string{"http/1.1"}
		certs.MinVersion = max(certs.MinVersion, tls.VersionTLS12)
	}
	return &http.Server{
		Handler: h, TLSConfig: certs, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
}
