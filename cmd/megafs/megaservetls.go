package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote"
)

// serverCerts returns what the flags say of TLS; nil: none.
func serverCerts(c *cli.Context, dir string) (*tls.Config, error) {
	cert, key := c.String("tls-cert"), c.String("tls-key")
	switch {
	case (cert == "") != (key == ""):
		return nil, usage("--tls-cert and --tls-key come together")
	case cert != "" && c.Bool("self-signed"):
		return nil, usage("there is a certificate already, so --self-signed makes no sense")
	case c.Bool("self-signed"):
		cert, key = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
		if err := selfSigned(cert, key, c.StringSlice("name")); err != nil {
			return nil, remote.E("make a certificate", cert, remote.IO, err)
		}
	case cert == "":
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, remote.E("read the certificate", cert, remote.Invalid, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

// selfSigned makes a certificate and its key, unless there is one.
func selfSigned(cert, key string, names []string) error {
	if _, err := os.Stat(cert); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(names) == 0 {
		if host, err := os.Hostname(); err == nil {
			names = append(names, host)
		}
		names = append(names, "localhost", "127.0.0.1", "::1")
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return err
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return err
	}
	// The certificate comes last, since it says that both are there.
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
