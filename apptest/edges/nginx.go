//go:build unix

package edges

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/programs"
)

func sumOf(text io.Reader, prefix string) (sum float64) {
	for lines := bufio.NewScanner(text); lines.Scan(); {
		line := lines.Text()
		if at := strings.LastIndexByte(line, ' '); at > 0 && strings.HasPrefix(line, prefix) {
			value, err := strconv.ParseFloat(line[at+1:], 64)
			if err == nil {
				sum += value
			}
		}
	}
	return sum
}

// Nginx runs nginx with the sample deploy/nginx/headgate.conf and what it includes, on the cluster's addresses, and gives its
// own. drop is a text that is left out of the sample, such as the cookie's name; "" leaves it whole.
func (c *Cluster) Nginx(program, replace, by string) (address string) {
	c.t.Helper()
	root, err := programs.Root()
	if err != nil {
		c.t.Fatal(err)
	}
	sample, err := os.ReadFile(filepath.Join(root, "deploy", "nginx", "headgate.conf"))
	if err != nil {
		c.t.Fatal(err)
	}
	locations, err := os.ReadFile(filepath.Join(root, "deploy", "nginx", "headgate-locations.conf"))
	if err != nil {
		c.t.Fatal(err)
	}
	address = programs.FreePorts(c.t, 1)[0]
	folder := c.t.TempDir()
	text := strings.NewReplacer("listen 8000 ", "listen "+address+" ", "/var/cache/nginx/headgate", filepath.Join(folder, "cache"),
		"include headgate-locations.conf;", string(locations)).Replace(string(sample))
	for _, e := range c.Edges {
		text = strings.ReplaceAll(text, e.Name+":8080", e.Address)
	}
	if replace != "" {
		if !strings.Contains(text, replace) {
			c.t.Fatalf("the sample has no %q", replace)
		}
		text = strings.ReplaceAll(text, replace, by)
	}
	main := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	%[2]s
}
`, folder, text)
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, []byte(main), 0o600); err != nil {
		c.t.Fatal(err)
	}
	p := programs.Start(c.t, programs.Spec{Name: "nginx", Path: program, Args: []string{"-p", folder, "-c", file, "-e", filepath.Join(folder, "start.log")}})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("nginx does not listen: %v\n%s", err, p.Log())
		}
	}
}
