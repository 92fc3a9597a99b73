// Package certs makes certificates for tests of TLS: authorities, and what they sign for brokers and clients. Only _test
// files import it.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
)

// Authority signs certificates for one test, whose files are gone when it ends.
type Authority struct {
	Cert *x509.Certificate

	t   testing.TB
	key crypto.Signer
}

// Validity is when a certificate may be used.
type Validity bool

// A certificate is valid for an hour from now, or ended an hour ago.
const (
	Valid   Validity = true
	Expired Validity = false
)

func (v Validity) of(now time.Time) (from, to time.Time) {
	if v == Expired {
		return now.Add(-2 * time.Hour), now.Add(-time.Hour)
	}
	return now.Add(-time.Hour), now.Add(time.Hour)
}

// NewAuthority returns an authority that signed itself.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, key: newKey(t)}
	a.Cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, Valid, a.key, nil)
	return a
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign issues a certificate for key; parent nil is self-signed.
func (a *Authority) sign(template *x509.Certificate, validity Validity, key crypto.Signer, parent *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	now := time.Now()
	template.SerialNumber = big.NewInt(now.UnixNano())
	template.NotBefore, template.NotAfter = validity.of(now)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// Server issues a certificate for the names and IP addresses of a broker.
func (a *Authority) Server(validity Validity, names ...string) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	key := newKey(a.t)
	cert := a.sign(template, validity, key, a.Cert)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// Client writes the certificate of a client and its key, encrypted where there is a password.
func (a *Authority) Client(validity Validity, name, password string) (certFile, keyFile string) {
	a.t.Helper()
	key := newKey(a.t)
	cert := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, validity, key, a.Cert)
	var pass []byte
	kind := "PRIVATE KEY"
	if password != "" {
		pass, kind = []byte(password), "ENCRYPTED PRIVATE KEY"
	}
	der, err := pkcs8.MarshalPrivateKey(key, pass, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	certFile, keyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	a.write(certFile, encode("CERTIFICATE", cert.Raw))
	a.write(keyFile, encode(kind, der))
	return certFile, keyFile
}

// File writes the authority's certificate and returns the path.
func (a *Authority) File() string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "ca.pem")
	a.write(path, a.PEM())
	return path
}

// PEM is the authority's certificate as text.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.Cert.Raw) }

// Pool is a pool of the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// KeyStore is a certificate and its key as Apache Kafka reads them from a key store of the type PEM.
func KeyStore(cert tls.Certificate) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	return append(encode("PRIVATE KEY", key), encode("CERTIFICATE", cert.Certificate[0])...), nil
}

func (a *Authority) write(path string, text []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
