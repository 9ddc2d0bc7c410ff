package main

import (
	"os"
	"path/filepath"
	"strings"
)

// nginxConfig is nginx as the same kind of cache, with all that is known to make it fast: TLS in the registry's name, blobs kept by
// their digest whatever repository they are asked for in, manifests by repository, reference and Accept, one transfer for all who
// wait, redirects followed here and kept, a log line for each request, several written at once as entrepot does. What it cannot do is
// left out: no CONNECT, no certificate for a new name, no digest checked.
const nginxConfig = `
daemon off;
USER
worker_processes auto;
worker_rlimit_nofile 65536;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 8192; }
http {
  access_log DIR/access.log combined buffer=64k flush=1s;
  client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
  default_type application/octet-stream;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 180s; keepalive_requests 100000000;
  open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_certificate CERT; ssl_certificate_key KEY;
  ssl_buffer_size 16k; http2_chunk_size 16k; ssl_session_cache shared:tls:10m;
  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  proxy_cache_path DIR/cache levels=1:2 keys_zone=registry:64m max_size=50g inactive=7d use_temp_path=off;
  upstream origin { server ORIGIN; keepalive 64; }
  map $uri $key {
    ~^/v2/.*/blobs/(?<digest>sha256:[0-9a-f]+)$ $digest;
    default $host$uri$http_accept;
  }
  server {
    listen PLAIN; listen TLS1 ssl; listen TLS2 ssl http2;
    server_name _;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host HOST;
    proxy_ssl_verify on; proxy_ssl_trusted_certificate ROOT; proxy_ssl_name HOST; proxy_ssl_server_name on;
    proxy_cache registry; proxy_cache_lock on; proxy_cache_lock_timeout 120s; proxy_cache_lock_age 120s;
    proxy_cache_valid 200 206 301 302 307 24h; proxy_max_temp_file_size 0;
    proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
    add_header X-Cache $upstream_cache_status;
    location / {
      proxy_cache_key $key;
      proxy_pass https://origin;
      proxy_intercept_errors on;
      error_page 301 302 307 = @moved;
    }
    location @moved {
      set $to $upstream_http_location;
      proxy_cache_key $key-moved;
      proxy_pass https://origin$to;
    }
  }
}
`

func startNginx(b *bed, s *server) error {
	a := freeAddrs(3)
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	text := strings.NewReplacer("USER", user, "DIR", s.dir, "CERT", b.trust.certFile, "KEY", b.trust.keyFile, "ROOT", b.trust.rootFile,
		"ORIGIN", b.origin.addr, "PLAIN", a[0], "TLS1", a[1], "TLS2", a[2], "HOST", hostName).Replace(nginxConfig)
	config := filepath.Join(s.dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if err := s.spawn("/usr/sbin/nginx", nil, "-c", config, "-e", filepath.Join(s.dir, "error.log")); err != nil {
		return err
	}
	secure := "https://" + hostName + "/v2/"
	s.ways = map[string]way{
		wayPlain: {addr: a[0], base: "http://" + a[0] + "/v2/"},
		wayH1:    {addr: a[1], base: secure, roots: b.trust.pool},
		wayH2:    {addr: a[2], base: secure, roots: b.trust.pool},
	}
	return s.until()
}
