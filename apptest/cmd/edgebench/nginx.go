//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"headgate.example/apptest/measure"
)

// nginxConfig refuses everything beyond one request a second of one address, and looks at no token. One
// process, since its CPU time is what is asked for.
const nginxConfig = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log crit;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	limit_req_zone $binary_remote_addr zone=presses:1m rate=1r/s;
	limit_req_status 429;
	server {
		listen %[2]s;
		location / {
			limit_req zone=presses;
			proxy_pass http://%[3]s;
		}
	}
}
`

// findNginx looks where Debian keeps daemons, too.
func findNginx() (string, error) {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/nginx")
}

// startNginx starts nginx with limit_req before an upstream.
func startNginx(ctx context.Context, dir, program, upstream string) (*target, error) {
	t := &target{name: "nginx", refuses: true}
	var err error
	if t.address, err = measure.FreeAddress(); err != nil {
		return nil, err
	}
	folder := filepath.Join(dir, "nginx")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, folder, t.address, upstream), 0o600); err != nil {
		return nil, err
	}
	p, err := measure.Launch(ctx, t.name, dir, program, "-p", folder, "-c", file, "-e", filepath.Join(folder, "start.log"))
	if err != nil {
		return nil, err
	}
	t.processes = []*measure.Process{p}
	return t, t.await(ctx)
}
