package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// squidConfig is squid as an intercepting cache: certificates made on the way, one transfer for all who wait, a transfer that goes
// on when its client leaves, and whole objects fetched for the sake of a range. It cannot follow a redirect by itself.
const squidConfig = `
http_port ADDR ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert=DIR/ca.pem
sslcrtd_program /usr/lib/squid/security_file_certgen -s DIR/certificates -M 16MB
sslcrtd_children 8 startup=2 idle=2
acl step1 at_step SslBump1
acl registry ssl::server_name .HOST
ssl_bump peek step1
ssl_bump bump registry
ssl_bump splice all
tls_outgoing_options cafile=ROOT
hosts_file DIR/hosts
dns_nameservers 127.0.0.1
cache_dir aufs DIR/cache 50000 16 256
maximum_object_size 20 GB
cache_mem 64 MB
maximum_object_size_in_memory 512 KB
collapsed_forwarding on
quick_abort_min -1 KB
range_offset_limit none
max_filedescriptors 65536
refresh_pattern . 1440 100% 10080 override-expire ignore-reload ignore-private
http_access allow all
access_log stdio:DIR/access.log
cache_log DIR/cache.log
pid_filename DIR/squid.pid
coredump_dir DIR
shutdown_lifetime 0 seconds
`

// squidNames is how many names below the host it can resolve.
const squidNames = 4000

func startSquid(b *bed, s *server) error {
	addr := freeAddr()
	_, port, _ := net.SplitHostPort(b.origin.addr)
	text := strings.NewReplacer("DIR", s.dir, "ADDR", addr, "ROOT", b.trust.rootFile, "HOST", hostName).Replace(squidConfig)
	pem, err := both(b.trust.rootFile, b.trust.rootKeyFile)
	if err != nil {
		return err
	}
	names := "127.0.0.1 " + hostName + "\n"
	for i := range squidNames {
		names += fmt.Sprintf("127.0.0.1 n%d.%s\n", i, hostName)
	}
	config := filepath.Join(s.dir, "squid.conf")
	for name, content := range map[string]string{config: text, filepath.Join(s.dir, "hosts"): names, filepath.Join(s.dir, "ca.pem"): pem} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	certificates := filepath.Join(s.dir, "certificates")
	if err := os.RemoveAll(certificates); err != nil { // of an earlier start, over which the program would fail
		return err
	}
	if out, err := exec.Command("/usr/lib/squid/security_file_certgen", "-c", "-s", certificates, "-M", "16MB").CombinedOutput(); err != nil {
		return fmt.Errorf("prepare squid: %w: %s", err, out)
	}
	if err := giveToProxy(s.dir); err != nil {
		return err
	}
	if out, err := exec.Command("/usr/sbin/squid", "-N", "-z", "-f", config).CombinedOutput(); err != nil {
		return fmt.Errorf("prepare squid's cache: %w: %s", err, out)
	}
	if err := s.spawn("/usr/sbin/squid", nil, "-N", "-f", config); err != nil {
		return err
	}
	s.tunnels = addr
	s.ways = map[string]way{wayConnect: {addr: addr, base: "https://" + hostName + ":" + port + "/v2/", roots: b.trust.pool}}
	return s.until()
}

func both(files ...string) (string, error) {
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

// giveToProxy makes what is in dir the property of the user that squid becomes, where we are root.
func giveToProxy(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("proxy")
	if err != nil {
		return fmt.Errorf("prepare squid: %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
}
