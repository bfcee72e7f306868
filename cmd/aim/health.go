package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	var base string
	var live bool
	timeout := 4 * time.Second
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it is ready, for health checks",
		Long: `Asks a server whether it is ready to answer, and fails where it is not: for health checks of containers, where there is no other
program to ask with. The address is --url, else $AIM_SERVER_ADDRESS, else 127.0.0.1:8080.`,
		Example: `  aim health
  aim health --live --url https://127.0.0.1:8443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := healthURL(cmp.Or(base, os.Getenv("AIM_SERVER_ADDRESS"), "127.0.0.1:8080"), live)
			if err != nil {
				return usageError{err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return askHealth(ctx, target)
		},
	}
	f := cmd.Flags()
	f.StringVar(&base, "url", "", "server to ask, such as http://127.0.0.1:8080")
	f.BoolVar(&live, "live", false, "ask only whether it is alive, which it is while it loads and while it drains")
	f.DurationVar(&timeout, "timeout", timeout, "how long to wait for an answer")
	return cmd
}

// healthURL is what to ask: of an address to listen on, this machine.
func healthURL(base string, live bool) (*url.URL, error) {
	if host, port, err := net.SplitHostPort(base); err == nil && port != "" {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		base = "http://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--url %q: want a URL such as http://127.0.0.1:8080", base)
	}
	if live {
		return u.JoinPath("health", "live"), nil
	}
	return u.JoinPath("health", "ready"), nil
}

// askHealth fails unless the answer is 200. The certificate of a server on this machine is for its name outside, and is not looked at.
func askHealth(ctx context.Context, target *url.URL) error {
	ip := net.ParseIP(target.Hostname())
	local := target.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: local}} //nolint:gosec // #nosec G402 -- nothing secret is sent, and see above
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // as much as there is
		return fmt.Errorf("%s: %s %s", target, response.Status, text)
	}
	return nil
}
