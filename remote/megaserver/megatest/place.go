package megatest

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
)

// Host is the address that is compiled into the clients that others wrote.
const Host = "g.api.mega.co.nz"

const (
	insideEnv = "MEGAFS_TEST_INSIDE"
	bundle    = "/etc/ssl/certs/ca-certificates.crt"
)

// Inside runs fn in a child of the test, in a network and a mount namespace of its own. The child runs the test of the same name.
func Inside(t *testing.T, fn func(*testing.T)) {
	t.Helper()
	InsideFor(t, 3*time.Minute, fn)
}

// InsideFor is Inside for what may take longer, or must not take as long.
func InsideFor(t *testing.T, most time.Duration, fn func(*testing.T)) {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		fn(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout="+most.String())
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
func authority(t testing.TB, names ...string) (tls.Certificate, []byte) {
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

// Place is where a test finds itself inside: Host is this machine, and an authority made for the test among those that are trusted.
type Place struct {
	*testing.T
	Dir       string
	Cert      tls.Certificate // for Host
	CertFile  string
	KeyFile   string
	Authority string // a file
}

// New is called inside.
func New(t *testing.T) *Place {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	leaveMounts(t)
	loopbackUp(t)
	f := &Place{T: t, Dir: t.TempDir()}
	cert, ca := authority(t, Host)
	hosts := f.File("hosts", []byte("127.0.0.1 localhost "+Host+"\n"))
	must(t, unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""))
	old, err := os.ReadFile(bundle)
	must(t, err)
	must(t, unix.Mount(f.File("bundle", append(old, ca...)), bundle, "", unix.MS_BIND, ""))
	f.Authority = f.File("ca.pem", ca)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	must(t, err)
	f.Cert = cert
	f.CertFile = f.File("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	f.KeyFile = f.File("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return f
}

// Path is a file in the place's folder.
func (f *Place) Path(name string) string { return filepath.Join(f.Dir, name) }

// File writes a file there.
func (f *Place) File(name string, data []byte) string {
	f.Helper()
	must(f.T, os.WriteFile(f.Path(name), data, 0o644))
	return f.Path(name)
}

// Environ is the environment of clients: they trust the authority, use no proxy, and keep what they keep in the place's folder.
func (f *Place) Environ() []string {
	return append(os.Environ(), "MEGATOOLS_PKP_DISABLE=1", "HOME="+f.Dir, "XDG_CACHE_HOME="+f.Dir, "XDG_CONFIG_HOME="+f.Dir, "TMPDIR="+f.Dir,
		"NODE_EXTRA_CA_CERTS="+f.Authority, "SSL_CERT_FILE="+f.Authority, "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=*", "no_proxy=*")
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

// Run runs a client's program and returns what it prints.
func (f *Place) Run(name string, args ...string) string {
	f.Helper()
	out, err := f.Try(name, args...)
	if err != nil {
		f.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run for what may fail.
func (f *Place) Try(name string, args ...string) (string, error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = f.Dir
	cmd.Env = f.Environ()
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

// Pattern is content of a size that is the same in every run and repeats at no power of two.
func Pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}
