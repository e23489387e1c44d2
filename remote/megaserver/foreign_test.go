package megaserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"megafs/remote/blob"
)

// The clients that others wrote reach one address that is compiled into them. So each test of them runs in a network and a mount
// namespace of its own, where that name is this machine's, and a throw-away authority is among those that are trusted.

const (
	foreignHost = "g.api.mega.co.nz"
	insideEnv   = "MEGAFS_TEST_INSIDE"
	bundle      = "/etc/ssl/certs/ca-certificates.crt"
)

// inside runs fn in a child of the test that has those namespaces. The child runs the test of the same name.
func inside(t *testing.T, fn func(*testing.T)) {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		fn(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name())
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	cmd.WaitDelay = 5 * time.Second
	// Pdeathsig follows the thread that began the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	if err != nil {
		t.Fatalf("inside: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// authority makes a certificate for name, signed by a new authority, whose certificate it returns too.
func authority(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "megafs test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
}

// foreign is a server where the clients look for MEGA's.
type foreign struct {
	*testing.T
	dir   string
	s     *Server
	links chan string
}

// leaveMounts gives up the mounts of FUSE that came along into the namespace: what is unmounted outside would live on here, and whoever
// waits for its end, as megafs umount does, would wait for this test.
func leaveMounts(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "fuse" || strings.HasPrefix(f[2], "fuse.")) {
			unix.Unmount(f[1], unix.MNT_DETACH) // one that is gone already is no error
		}
	}
}

// newForeign is called inside.
func newForeign(t *testing.T) *foreign {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	leaveMounts(t)
	loopbackUp(t)
	f := &foreign{T: t, dir: t.TempDir(), links: make(chan string, 10)}
	cert, ca := authority(t, foreignHost)
	hosts := f.file("hosts", []byte("127.0.0.1 localhost "+foreignHost+"\n"))
	must(t, unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""))
	old, err := os.ReadFile(bundle)
	must(t, err)
	must(t, unix.Mount(f.file("bundle", append(old, ca...)), bundle, "", unix.MS_BIND, ""))
	f.file("ca.pem", ca)

	store, err := blob.Dir(filepath.Join(f.dir, "blobs"), blob.DirOptions{Create: true})
	must(t, err)
	f.s, err = New(Options{
		State: filepath.Join(f.dir, "state"), Blobs: store, Wait: 2 * time.Second,
		Mail: func(_, link string) error { f.links <- link; return nil },
	})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:443")
	must(t, err)
	h := HTTPServer(f.s, &tls.Config{Certificates: []tls.Certificate{cert}})
	go h.ServeTLS(l, "", "")
	t.Cleanup(func() { h.Close(); f.s.Close(); store.Close() })
	return f
}

func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, err)
	defer unix.Close(fd)
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP | unix.IFF_RUNNING
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); e != 0 {
		t.Fatal(e)
	}
}

func (f *foreign) path(name string) string { return filepath.Join(f.dir, name) }

func (f *foreign) file(name string, data []byte) string {
	f.Helper()
	must(f.T, os.WriteFile(f.path(name), data, 0o644))
	return f.path(name)
}

// run runs a client's program and returns what it prints.
func (f *foreign) run(name string, args ...string) string {
	f.Helper()
	out, err := f.try(name, args...)
	if err != nil {
		f.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (f *foreign) try(name string, args ...string) (string, error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "MEGATOOLS_PKP_DISABLE=1", "HOME="+f.dir, "XDG_CACHE_HOME="+f.dir, "XDG_CONFIG_HOME="+f.dir, "TMPDIR="+f.dir,
		"NODE_EXTRA_CA_CERTS="+f.path("ca.pem"), "SSL_CERT_FILE="+f.path("ca.pem"), "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=*", "no_proxy=*")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pattern is content of a size that is the same in every run and repeats at no power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}

func program(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("takes others' programs")
	}
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed (scripts/test does that)", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return p
}
