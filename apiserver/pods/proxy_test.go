package pods_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/skiffcluster/skiff/apiserver/pods"
)

func TestForward(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.URL) }))
	defer backend.Close()
	to, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, path, want string
		code                     int
	}{
		{"a GET without a path is sent to the root", "GET", "", "/proxy/?a=b", http.StatusMovedPermanently},
		{"so is a HEAD", "HEAD", "", "/proxy/?a=b", http.StatusMovedPermanently},
		{"a POST without a path is answered", "POST", "", "POST /?a=b", http.StatusOK},
		{"the root is answered", "GET", "/", "GET /?a=b", http.StatusOK},
		{"a path is passed on", "GET", "/x/y", "GET /x/y?a=b", http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(c.method, "/proxy"+c.path+"?a=b", nil)
			pods.Forward(to, c.path, http.DefaultTransport, nil).ServeHTTP(w, r)
			got := w.Body.String()
			if c.code != http.StatusOK {
				got = w.Header().Get("Location")
			}
			if w.Code != c.code || got != c.want {
				t.Errorf("%d %q", w.Code, got)
			}
		})
	}
}
