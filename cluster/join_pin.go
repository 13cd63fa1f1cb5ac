package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serverName is what every API server's certificate names, by whichever
// address it is reached.
const serverName = "kubernetes"

// pinned reaches an API server whose CA has a token's hash. The server shows
// its CA beside its certificate.
type pinned struct {
	token  Token
	server *url.URL
	client *http.Client
	ca     []byte // PEM, known after the first answer
}

func pin(server string, token Token) (*pinned, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("server %q is not a URL such as https://10.0.0.1:6443", server)
	}
	p := &pinned{token: token, server: u}
	p.client = &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: serverName,
			InsecureSkipVerify: true, //nolint:gosec // verify does it, by the CA that has the hash
			VerifyConnection:   p.verify,
		},
		DisableKeepAlives: true,
	}}
	return p, nil
}

// verify finds the CA among the certificates that the server shows and holds
// the server's own against it.
func (p *pinned) verify(s tls.ConnectionState) error {
	roots := x509.NewCertPool()
	var ca *x509.Certificate
	for _, c := range s.PeerCertificates {
		if c.IsCA && publicKeyHash(c) == p.token.Hash {
			ca = c
			roots.AddCert(c)
		}
	}
	if ca == nil {
		return fmt.Errorf("%s is not of the cluster that the token is for: no certificate that it shows has the hash %s", p.server.Host, p.token.Hash)
	}
	if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: serverName}); err != nil {
		return fmt.Errorf("certificate of %s: %w", p.server.Host, err)
	}
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return nil
}

// do sends in and reads the answer into out.
func (p *pinned) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	path, query, _ := strings.Cut(path, "?")
	target := p.server.JoinPath(path)
	target.RawQuery = query
	r, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.token.Bearer())
	r.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("reach %s: %w", p.server.Host, unwrapURL(err))
	}
	defer func() { _ = answer.Body.Close() }()
	return readAnswer(answer, out)
}

// unwrapURL leaves out the request, which whoever asks knows.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// readAnswer reads JSON, or why there is none.
func readAnswer(answer *http.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized:
		return errors.New("the token is not valid or has expired: 'skiff token create' on a master makes another")
	case answer.StatusCode == http.StatusForbidden:
		var s metav1.Status
		if json.Unmarshal(raw, &s) != nil || s.Message == "" {
			s.Message = strings.TrimSpace(string(raw))
		}
		return fmt.Errorf("the token does not allow this (a master needs one of 'skiff token create --master'): %s", s.Message)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("the server answers %d: %s", answer.StatusCode, strings.TrimSpace(string(raw)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// anyOf tries the servers of a list until one answers.
func anyOf(servers []string, token Token, do func(*pinned) error) (*pinned, error) {
	var errs []error
	for _, s := range servers {
		p, err := pin(s, token)
		if err != nil {
			return nil, err
		}
		if err = do(p); err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
